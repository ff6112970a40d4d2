"""Questions to the DNS, as the servers that receive mail ask them."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import PersonalizeError

#: Seconds for one question.
TIMEOUT = 4.0


class DnsUnanswered(PersonalizeError):
    """The DNS gave no answer: neither that there is such a record nor that there is none."""


class Resolver:
    """Asks DNS_SERVERS, else the servers of this machine; each question once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], list[str]] = {}
        try:
            self._resolver = dns.resolver.Resolver(configure=not settings.DNS_SERVERS)
        except dns.exception.DNSException as error:
            raise DnsUnanswered(
                "This machine names no DNS server: set SALEOR_PERSONALIZE['DNS_SERVERS']."
            ) from error
        self._resolver.lifetime = TIMEOUT
        self._resolver.timeout = TIMEOUT / 2
        if settings.DNS_SERVERS:
            parts = [server.partition(":") for server in settings.DNS_SERVERS]
            self._resolver.nameservers = [host for host, _colon, _port in parts]
            self._resolver.nameserver_ports = {host: int(port) for host, _, port in parts if port}

    def texts(self, name: str) -> list[str]:
        """Return the TXT records of a name, each as one text. Raises DnsUnanswered."""
        return self._ask(name, "TXT")

    def takes_mail(self, domain: str) -> bool:
        """Tell whether a domain has a mail server (RFC 5321, 5.1; RFC 7505). Raises DnsUnanswered."""
        servers = self._ask(domain, "MX")
        if servers:
            return servers != ["."]
        return bool(self._ask(domain, "A") or self._ask(domain, "AAAA"))

    def _ask(self, name: str, kind: str) -> list[str]:
        if (name, kind) not in self._known:
            self._known[name, kind] = self._look_up(name, kind)
        return self._known[name, kind]

    def _look_up(self, name: str, kind: str) -> list[str]:
        try:
            asked = dns.name.from_text(name.encode("idna").decode() if not name.isascii() else name)
            answer = self._resolver.resolve(asked, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise DnsUnanswered(
                f"The DNS did not answer for {name} ({type(error).__name__})."
            ) from error
        if kind == "TXT":
            return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
        if kind == "MX":
            return sorted(str(record.exchange) for record in answer)
        return [str(record) for record in answer]
