"""A real DNS server on loopback, for what the go-live check asks."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class Zone:
    """Records by (name, type): texts as they stand in a zone file. Names that are not here do not exist."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    #: Answers nothing at all, or that it failed.
    is_mute: bool = False
    is_broken: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""

    def text(self, name: str, *texts: str) -> None:
        quoted = []
        for text in texts:
            parts = [text[start : start + 255] for start in range(0, len(text), 255)] or [""]
            quoted.append(" ".join(f'"{part}"' for part in parts))
        self.records[name, "TXT"] = quoted

    def answer(self, wire: bytes) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.is_mute:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.is_broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif found := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        elif not any(known == name for known, _kind in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


def _handler(zone: Zone) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, socket = self.request
            if (answer := zone.answer(wire)) is not None:
                socket.sendto(answer, self.client_address)

    return Handler


@contextmanager
def dns_server() -> Iterator[Zone]:
    """Serve a zone at `zone.address` ("127.0.0.1:<port>") until the block ends."""
    zone = Zone()
    server: Any = socketserver.ThreadingUDPServer(("127.0.0.1", 0), _handler(zone))
    zone.address = "{}:{}".format(*server.server_address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield zone
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
