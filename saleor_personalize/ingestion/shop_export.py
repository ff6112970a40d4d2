"""Everything of one shop as files, for whoever leaves or moves on. What Saleor has is in Saleor.

`offline_orders.jsonl` has the columns of an import and can be imported again as it is; `segments.json` is what
`saleor-personalize segments import` reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    OrderOrigin,
    Purpose,
)
from saleor_personalize.events.offline import PREFIX
from saleor_personalize.models import (
    Erasure,
    Identity,
    Installation,
    Order,
    OrderLine,
    Profile,
    Segment,
    Suppression,
)
from saleor_personalize.profiles import consent, privacy

_CHUNK = 500


def export_shop(*, installation: Installation, folder: Path, now: datetime) -> dict[str, int]:
    """Write the files into a folder; return how many rows each has. Raises OSError.

    Row by row: memory does not grow with the shop. Files are readable by their owner alone.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        "people.jsonl": lambda: _people(installation, now),
        "offline_orders.jsonl": lambda: _orders(installation, OrderOrigin.OFFLINE),
        "saleor_orders.jsonl": lambda: _orders(installation, OrderOrigin.SALEOR),
        "suppressions.jsonl": lambda: _suppressions(installation),
        "erasures.jsonl": lambda: _erasures(installation),
    }
    counts = {name: _write(folder / name, rows()) for name, rows in parts.items()}
    segments = list(
        Segment.objects.of(installation)
        .order_by("key")
        .values("key", "name", "definition", "is_active")
    )
    with _private(folder / "segments.json").open("w", encoding="utf-8") as file:
        json.dump(segments, file, indent=2, ensure_ascii=False)
    return {**counts, "segments.json": len(segments)}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with _private(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _private(path: Path) -> Path:
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path


def _people(installation: Installation, now: datetime) -> Iterator[dict[str, Any]]:
    speakers = Profile.objects.of(installation).filter(merged_into=None)
    for profile in speakers.select_related("installation").order_by("pk").iterator(_CHUNK):
        yield privacy.export(profile=profile, now=now)


def _orders(installation: Installation, origin: OrderOrigin) -> Iterator[dict[str, Any]]:
    """Yield a row per line of an order, as an import reads them."""
    orders = Order.objects.of(installation).filter(origin=origin, deleted_at=None)
    for order in orders.order_by("pk").prefetch_related("lines").iterator(_CHUNK):
        head = {
            "number": order.saleor_id.removeprefix(PREFIX) or order.number,
            "placed_at": order.placed_at.isoformat(),
            **_buyer(installation, order),
            "currency": order.currency,
            "channel": order.channel_slug,
            "total": str(order.total),
        }
        lines = list(order.lines.all())
        for line in lines:
            yield {**head, **_line(order, line)}
        if not lines:
            yield head


def _line(order: Order, line: OrderLine) -> dict[str, Any]:
    return {
        "line": line.saleor_id.removeprefix(f"{order.saleor_id}:"),
        "product": line.variant_saleor_id or line.product_saleor_id,
        "name": line.name,
        "quantity": str(line.quantity),
        "unit_price": str(line.unit_price),
    }


def _buyer(installation: Installation, order: Order) -> dict[str, str]:
    ids = Identity.objects.of(installation)
    mail = (
        ids.filter(kind=IdentityKind.EMAIL, value=order.email_hash)
        .select_related("profile__installation")
        .first()
        if order.email_hash
        else None
    )
    card = ids.filter(kind=IdentityKind.EXTERNAL_ID, profile=order.profile_id).first()
    answer = (
        consent.state(
            profile=mail.profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
        )
        if mail
        else None
    )
    return {
        "email": mail.address if mail else "",
        "external_id": card.value if card and order.profile_id else "",
        "saleor_user": order.user_saleor_id,
        "marketing_opt_in": {ConsentState.GRANTED: "yes", ConsentState.DENIED: "no"}.get(
            answer or ConsentState.PENDING, ""
        ),
    }


def _suppressions(installation: Installation) -> Iterator[dict[str, Any]]:
    rows = Suppression.objects.of(installation).order_by("pk")
    for row in rows.iterator(_CHUNK):
        known = (
            Identity.objects.of(installation)
            .filter(kind=IdentityKind.EMAIL, value=row.address_hash)
            .first()
        )
        yield {
            "delivery_channel": row.delivery_channel,
            "address": known.address if known else "",
            "address_hash": row.address_hash,
            "reason": row.reason,
            "created_at": row.created_at.isoformat(),
        }


def _erasures(installation: Installation) -> Iterator[dict[str, Any]]:
    for row in Erasure.objects.of(installation).order_by("pk").iterator(_CHUNK):
        yield {
            "reference": str(row.public_id),
            "requested_by": row.requested_by,
            "erased_at": row.erased_at.isoformat(),
            "counts": row.counts,
        }
