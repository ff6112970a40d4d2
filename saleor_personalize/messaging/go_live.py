"""May mail of a shop go out to many? What receiving servers look at: SPF, DKIM, DMARC, the links, the reports.

The big providers of mailboxes ask senders of many mails for all of it. Nothing here changes anything or
sends a mail; it asks the DNS and this service's own address.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from email.utils import parseaddr
from urllib.parse import urlsplit

import httpx
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.encoding import punycode
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.messaging import links, texts
from saleor_personalize.messaging.dns import DnsUnanswered, Resolver
from saleor_personalize.messaging.operations import sender_of
from saleor_personalize.models import Installation, ProviderWebhook

OK, WARN, FAIL = "ok", "warn", "fail"
#: Domains of mailboxes for everybody: whoever sends as one of them from elsewhere is refused.
_OF_EVERYBODY = frozenset(
    {
        "aol.com", "free.fr", "gmail.com", "gmx.de", "gmx.net", "googlemail.com", "hotmail.com",
        "icloud.com", "interia.pl", "live.com", "mail.com", "me.com", "msn.com", "o2.pl",
        "orange.fr", "outlook.com", "proton.me", "protonmail.com", "t-online.de", "web.de",
        "wp.pl", "yahoo.com", "yahoo.de", "yahoo.fr", "ymail.com",
    }
)  # fmt: skip
#: RFC 7208, 4.6.4: with more, receivers stop. These terms cost one.
_MOST_LOOKUPS = 10
_LOOKED_UP = re.compile(r"[+\-~?]?(?:(?:a|mx|ptr)(?:[:/].*)?|exists:.+|(?:include:|redirect=)(.+))")
#: Seconds that our own address may take to answer.
_TIMEOUT = 5.0
_SMTP = "django.core.mail.backends.smtp.EmailBackend"


@dataclass(frozen=True)
class Finding:
    """`check` is a stable name, `fix` the next thing to do ("" when all is well)."""

    check: str
    level: str
    text: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class _Policy:
    """A DMARC record: where it stands, and what it says."""

    domain: str
    tags: dict[str, str]


def for_terminal(finding: Finding) -> Finding:
    """Return a finding as a terminal tells it, where there is no page to look at."""
    if finding.check != "reports" or not finding.fix:
        return finding
    fix = (
        "Give your provider the address of the webhook: "
        "`saleor-personalize go-live-check --webhook PROVIDER` prints it."
    )
    return replace(finding, fix=fix)


def examine(*, installation: Installation) -> Iterator[Finding]:
    """Yield what is found about the mail of a shop; never raises over what others answer."""
    domain = yield from _sender(installation)
    if domain:
        try:
            yield from _domain(domain, Resolver())
        except DnsUnanswered as error:
            fix = _("See that this machine may ask the DNS, and check again.")
            yield Finding("dns", WARN, str(error), fix)
    yield from _unsubscribe(installation)
    yield from _reports(installation)
    if texts.is_on():
        yield _answers(installation)


def _sender(installation: Installation) -> Generator[Finding, None, str]:
    """Look at the From; return its domain, or "" when nothing further can be said of it."""
    sender = sender_of(installation)
    as_name = _("Write the sender as “Shop name <shop@your-domain.example>”.")
    if not sender:
        text = _("There is no sender, so no message can leave.")
        fix = _("Set it on the app's page in the Dashboard, or DEFAULT_SENDER.")
        yield Finding("from", FAIL, text, fix)
        return ""
    name, address = parseaddr(sender)
    try:
        validate_email(address)
    except ValidationError:
        text = _("The sender is no address that mail can come from.")
        yield Finding("from", FAIL, text, as_name)
        return ""
    domain: str = punycode(address.rpartition("@")[2]).lower()
    words = {"domain": domain}
    if domain in _OF_EVERYBODY:
        text = _("The sender is at %(domain)s, which is not yours: receivers refuse it.") % words
        yield Finding("from", FAIL, text, _("Send from a domain of your shop."))
        return ""
    if name:
        text = _("Messages come from %(domain)s, with a name that people know.") % words
        yield Finding("from", OK, text)
    else:
        text = _("Messages come from %(domain)s, without a name.") % words
        yield Finding("from", WARN, text, as_name)
    return domain


# -- DNS -----------------------------------------------------------------------------------------------


def _domain(domain: str, resolver: Resolver) -> Iterator[Finding]:
    words = {"domain": domain}
    if resolver.takes_mail(domain):
        text = _("%(domain)s takes mail, so bounces and replies arrive.") % words
        yield Finding("domain", OK, text)
    else:
        text = _("%(domain)s has no mail server: many receivers refuse its mail.") % words
        yield Finding("domain", FAIL, text, _("Add an MX record to %(domain)s.") % words)
    policy = yield from _dmarc(domain, resolver)
    return_path = (settings.RETURN_PATH_DOMAIN or domain).lower()
    is_allowed = yield from _spf(return_path, resolver)
    is_signed = yield from _dkim(domain, resolver, policy)
    is_allowed = is_allowed and _is_aligned(return_path, domain, policy)
    if is_allowed or is_signed:
        by = " + ".join(name for name, is_so in (("SPF", is_allowed), ("DKIM", is_signed)) if is_so)
        text = _("%(by)s speaks for %(domain)s, as DMARC asks.") % {**words, "by": by}
        yield Finding("alignment", OK, text)
    else:
        text = _(
            "Neither SPF (of %(return_path)s) nor DKIM speaks for %(domain)s, so DMARC fails."
        ) % {**words, "return_path": return_path}
        fix = _("Have your provider sign as your domain, and set DKIM_SELECTORS to its selectors.")
        yield Finding("alignment", FAIL, text, fix)


def _dmarc(domain: str, resolver: Resolver) -> Generator[Finding, None, _Policy | None]:
    """Find the policy of a domain, going up its name as receivers do."""
    labels = domain.split(".")
    for start in range(len(labels) - 1):
        holder = ".".join(labels[start:])
        words = {"domain": holder}
        texts = resolver.texts(f"_dmarc.{holder}")
        records = [text for text in texts if _tags(text).get("v") == "dmarc1"]
        if len(records) > 1:
            text = _("%(domain)s has several DMARC records: receivers use none.") % words
            yield Finding("dmarc", FAIL, text, _("Keep one of them."))
            return None
        if not records:
            continue
        policy = _Policy(holder, _tags(records[0]))
        wanted = policy.tags.get("p", "")
        if holder != domain:
            wanted = policy.tags.get("sp", wanted)
        if wanted not in {"none", "quarantine", "reject"}:
            text = _("The DMARC record of %(domain)s has no policy that can be read.") % words
            fix = _("Write it as v=DMARC1; p=none; and make it stricter later.")
            yield Finding("dmarc", FAIL, text, fix)
            return None
        words["policy"] = wanted
        yield Finding("dmarc", OK, _("%(domain)s has a DMARC policy: %(policy)s.") % words)
        return policy
    words = {"domain": domain}
    text = _("%(domain)s has no DMARC record; senders of many mails are asked for one.") % words
    fix = _("Add a TXT record at _dmarc.%(domain)s: v=DMARC1; p=none") % words
    yield Finding("dmarc", FAIL, text, fix)
    return None


def _tags(record: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in record.split(";"))
    return {
        name.strip().lower(): value.strip().lower() for name, _is, value in pairs if name.strip()
    }


def _is_aligned(found: str, domain: str, policy: _Policy | None) -> bool:
    """Tell whether SPF's domain speaks for the sender's: the same, or of the same organisation."""
    if found == domain:
        return True
    if policy is None or policy.tags.get("aspf") == "s":
        return False
    # The policy stands where the organisation begins, or at the domain itself.
    parent = policy.domain
    return all(name == parent or name.endswith(f".{parent}") for name in (found, domain))


def _spf(domain: str, resolver: Resolver) -> Generator[Finding, None, bool]:
    """Look at who may send for a domain; return whether our provider may, as far as it can be known."""
    words = {"domain": domain}
    records = _spf_records(domain, resolver)
    lookups, included = _walk(domain, resolver, set())
    missing = [name for name in settings.SPF_INCLUDES if name.lower() not in included]
    fix = ""
    if not records:
        text = _("%(domain)s has no SPF record.") % words
        fix = (
            _("Add a TXT record to %(domain)s: v=spf1 include:(what your provider names) -all")
            % words
        )
    elif len(records) > 1:
        text = _("%(domain)s has several SPF records: receivers use none.") % words
        fix = _("Put all includes into one of them.")
    elif {"+all", "all"} & set(records[0].lower().split()):
        text = _("The SPF record of %(domain)s allows everybody to send as you.") % words
        fix = _("End it with -all or ~all.")
    elif lookups > _MOST_LOOKUPS:
        text = _(
            "The SPF record of %(domain)s needs %(count)s look-ups; receivers stop after %(most)s."
        ) % {**words, "count": lookups, "most": _MOST_LOOKUPS}
        fix = _("Take out includes of services that do not send for you any more.")
    elif missing:
        words["missing"] = missing[0]
        text = _("The SPF record of %(domain)s does not include %(missing)s.") % words
        fix = _("Add include:%(missing)s to it.") % words
    if fix:
        yield Finding("spf", FAIL, text, fix)
        return False
    if settings.SPF_INCLUDES:
        yield Finding("spf", OK, _("The SPF record of %(domain)s allows your provider.") % words)
    else:
        text = _("%(domain)s has an SPF record; whether it allows your provider is not known.")
        fix = _("Set SPF_INCLUDES to what your provider wants included.")
        yield Finding("spf", WARN, text % words, fix)
    return True


def _spf_records(domain: str, resolver: Resolver) -> list[str]:
    return [text for text in resolver.texts(domain) if text.lower().split(" ")[0] == "v=spf1"]


def _walk(domain: str, resolver: Resolver, seen: set[str]) -> tuple[int, set[str]]:
    """Return how many look-ups an SPF record costs and what it includes, that of includes too."""
    if domain in seen or len(seen) > _MOST_LOOKUPS:
        return 0, set()
    seen.add(domain)
    count = 0
    included: set[str] = set()
    for record in _spf_records(domain, resolver)[:1]:
        for match in filter(None, map(_LOOKED_UP.fullmatch, record.lower().split()[1:])):
            count += 1
            if match[1]:
                more, theirs = _walk(match[1], resolver, seen)
                count, included = count + more, included | theirs | {match[1]}
    return count, included


def _dkim(
    domain: str, resolver: Resolver, policy: _Policy | None
) -> Generator[Finding, None, bool]:
    """Look for the keys of DKIM_SELECTORS; return whether one speaks for the domain."""
    if not settings.DKIM_SELECTORS:
        text = _("Under which selectors your provider signs is not known: DKIM_SELECTORS is empty.")
        yield Finding("dkim", WARN, text, _("Set it to the selectors that your provider names."))
        return False
    holders = [domain]
    if policy is not None and policy.domain != domain and policy.tags.get("adkim") != "s":
        holders.append(policy.domain)
    is_signed = False
    for selector in settings.DKIM_SELECTORS:
        names = [f"{selector}._domainkey.{holder}" for holder in holders]
        words = {"name": names[0], "domain": domain, "selector": selector}
        tags = [_tags(text) for name in names for text in resolver.texts(name)]
        keys = [each["p"] for each in tags if "p" in each]
        if any(keys):
            is_signed = True
            text = _("There is a key of %(domain)s under the selector %(selector)s.") % words
            yield Finding("dkim", OK, text)
        elif keys:
            text = _("The key at %(name)s was revoked: it is empty.") % words
            fix = _("Ask your provider for the selector that it signs with now.")
            yield Finding("dkim", FAIL, text, fix)
        else:
            text = _("There is no key at %(name)s.") % words
            fix = _("Add the TXT or CNAME record that your provider shows.")
            yield Finding("dkim", FAIL, text, fix)
    return is_signed


# -- our own doors -------------------------------------------------------------------------------------


def _unsubscribe(installation: Installation) -> Iterator[Finding]:
    """Unsubscribe nobody, as a provider of mailboxes does: by POST, without a login (RFC 8058)."""
    try:
        url = links.probe_url(installation=installation)
    except TemplateIncomplete:
        text = _("APP_URL is not set, so no message can leave.")
        fix = _("Set it to the public address of this service.")
        yield Finding("unsubscribe", FAIL, text, fix)
        return
    if urlsplit(url).scheme != "https":
        text = _("Unsubscribe links are not https: mail programs show no button for them.")
        fix = _("Serve this service over https, and set APP_URL so.")
        yield Finding("https", WARN, text, fix)
    fix = _("See that APP_URL leads to this service from outside, and nothing asks for a login.")
    body = {"List-Unsubscribe": "One-Click"}
    try:
        answer = httpx.post(url, data=body, timeout=_TIMEOUT, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        words = {"error": type(error).__name__}
        text = _("The unsubscribe link does not answer (%(error)s).") % words
        yield Finding("unsubscribe", FAIL, text, fix)
        return
    # Some other page may stand before us.
    is_ours = answer.headers.get("X-Robots-Tag") == "noindex"
    if answer.status_code == 200 and is_ours:
        yield Finding("unsubscribe", OK, _("One click unsubscribes, without a login."))
        return
    words = {"status": str(answer.status_code)}
    text = _("The unsubscribe link answers a POST with %(status)s, and not as this service does.")
    yield Finding("unsubscribe", FAIL, text % words, fix)


def _reports(installation: Installation) -> Iterator[Finding]:
    webhook = ProviderWebhook.objects.of(installation).first()
    heard = dict(webhook.heard) if webhook is not None else {}
    heard.pop(texts.PROVIDER, None)
    if heard:
        provider, moment = max(heard.items(), key=lambda item: item[1])
        at = datetime.fromisoformat(moment)
        words = {"provider": provider, "at": f"{at:%Y-%m-%d %H:00} UTC"}
        text = _("%(provider)s reports bounces and complaints; last heard %(at)s.") % words
        yield Finding("reports", OK, text)
        return
    fix = _(
        "Give your provider the address of the webhook: it is on this page, and `saleor-personalize "
        "go-live-check --webhook PROVIDER` prints it."
    )
    if django_settings.EMAIL_BACKEND == _SMTP and not _has_providers():
        text = _("Nobody reports yet: of mail that comes back later, nothing is known.")
        yield Finding("reports", WARN, text, fix)
    else:
        text = _("No provider reports yet: who bounces or complains would be written to again.")
        yield Finding("reports", FAIL, text, fix)


def _answers(installation: Installation) -> Finding:
    """Tell whether the provider of text messages tells what people answer: STOP has to be heard."""
    webhook = ProviderWebhook.objects.of(installation).first()
    heard = webhook.heard.get(texts.PROVIDER) if webhook is not None else None
    if heard is not None:
        at = f"{datetime.fromisoformat(heard):%Y-%m-%d %H:00} UTC"
        text = _("The provider of text messages reports; last heard %(at)s.") % {"at": at}
        return Finding("text messages", OK, text)
    return Finding(
        "text messages",
        WARN,
        _("The provider of text messages was never heard: nobody could end them by STOP."),
        _(
            "Give it the address for answers that `saleor-personalize go-live-check --webhook sms` prints, "
            "and answer a message once yourself."
        ),
    )


def _has_providers() -> bool:
    entry = settings.CHANNELS.get("email")
    options = entry.get("OPTIONS", {}) if isinstance(entry, dict) else {}
    return bool(options.get("providers"))
