"""Erased people in what lies here as it came: raw deliveries, refused rows and uploads.

An erasure deletes rows at once; these texts are searched by a task afterwards, and once a day. Every word of a
text is compared by its fingerprint with those of erased people: nobody's address is needed for it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from django.db.models import Q

from saleor_personalize.enums import DeliveryStatus, IdentityKind, ImportStatus
from saleor_personalize.ingestion.imports import operations as imports
from saleor_personalize.ingestion.imports import stored
from saleor_personalize.ingestion.imports.columns import Options
from saleor_personalize.ingestion.imports.files import UnreadableFile, open_table
from saleor_personalize.models import (
    Erasure,
    Identity,
    Import,
    ImportReject,
    Installation,
    WebhookDelivery,
    email_hash,
)
from saleor_personalize.profiles import tombstones
from saleor_personalize.profiles.phones import number_hash
from saleor_personalize.profiles.tombstones import Gone, Id

logger = logging.getLogger(__name__)

#: Rows that are searched at once.
BATCH = 500
#: Longer words are no id, and no address.
MAX_ID = 320
_BETWEEN_WORDS = re.compile(r"[\s\"<>()\[\],;:\\]+")
#: What an address may hold, and does not begin or end with.
#: With the country's code, as providers of text messages write a number.
_NUMBERS = re.compile(r"(?<!\d)(?:\+|00)?([1-9]\d{6,14})(?!\d)")
_EDGES = "'{}."
#: Kinds of ids that shops and files write out, besides addresses.
_KINDS = (IdentityKind.SALEOR_USER, IdentityKind.CHECKOUT, IdentityKind.EXTERNAL_ID)
#: Deliveries about people; others are searched when they could not be read.
_OF_PEOPLE = Q(event__startswith="customer_") | Q(event__startswith="account_") | Q(
    event__startswith="checkout_"
) | Q(event__startswith="order_") | Q(event__startswith="provider_")  # fmt: skip
UPLOAD_DELETED = (
    "The file was deleted: it held somebody who asked to be erased. Upload it again without them."
)


@dataclass(frozen=True)
class Swept:
    """How many rows and files were deleted."""

    deliveries: int = 0
    rejects: int = 0
    uploads: int = 0


def sweep(*, installation: Installation, now: datetime) -> Swept:
    """Delete what is kept as it came and speaks of people who were erased in this shop.

    Waiting deliveries are left to whoever processes them, running imports to their end. Safe to run
    at any time, and twice.
    """
    waiting = list(
        Erasure.objects.of(installation).filter(swept_at=None).values_list("pk", flat=True)
    )
    if not Erasure.objects.of(installation).exists():
        return Swept()
    done = Swept(
        deliveries=_sweep_deliveries(installation),
        rejects=_sweep_rejects(installation),
        uploads=_sweep_uploads(installation, now),
    )
    Erasure.objects.of(installation).filter(pk__in=waiting).update(swept_at=now)
    logger.info(
        "Installation %s: %s deliveries, %s refused rows and %s uploads of erased people deleted",
        installation.pk,
        done.deliveries,
        done.rejects,
        done.uploads,
    )
    return done


def sweep_due(*, now: datetime, everywhere: bool = False) -> int:
    """Sweep the shops with new erasures (or all that ever had one); return how many."""
    waiting = Erasure.objects.all() if everywhere else Erasure.objects.filter(swept_at=None)
    shops = Installation.objects.filter(pk__in=waiting.values("installation")).order_by("pk")
    for installation in shops:
        sweep(installation=installation, now=now)
    return len(shops)


# -- deliveries ----------------------------------------------------------------------------------------


def _sweep_deliveries(installation: Installation) -> int:
    kept = WebhookDelivery.objects.of(installation).filter(
        _OF_PEOPLE | Q(status=DeliveryStatus.FAILED)
    )
    kept = kept.exclude(status=DeliveryStatus.RECEIVED)
    deleted = 0
    for rows in _batches(kept.only("pk", "body", "issued_at", "received_at", "installation_id")):
        ids = {row.pk: _ids_of_body(bytes(row.body)) for row in rows}
        gone = _gone(installation, ids.values())
        old = [
            row.pk for row in rows if gone.covers_any(ids[row.pk], row.issued_at or row.received_at)
        ]
        deleted += kept.filter(pk__in=old).delete()[0]
    return deleted


def _ids_of_body(body: bytes) -> set[Id]:
    try:
        texts = list(_texts(json.loads(body)))
    except (ValueError, RecursionError):
        # A form writes "@" in its own way.
        text = body.decode("utf-8", "replace")
        texts = [text, *(value for _name, value in parse_qsl(text))]
    return {id_ for text in texts for id_ in _ids_of_text(text)}


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _ids_of_text(text: str) -> Iterator[Id]:
    for digits in _NUMBERS.findall(text):
        yield IdentityKind.PHONE, number_hash(f"+{digits}")
    words = {text.strip(), *_BETWEEN_WORDS.split(text)}
    for word in words | {word.strip(_EDGES) for word in words}:
        yield from _ids_of_word(word)


def _ids_of_word(word: str) -> Iterator[Id]:
    if 0 < len(word) <= MAX_ID:
        yield from ((kind, word) for kind in _KINDS)
        if "@" in word:
            yield IdentityKind.EMAIL, email_hash(word)


# -- imports -------------------------------------------------------------------------------------------


def _sweep_rejects(installation: Installation) -> int:
    """Delete refused rows of people who were erased and are not known anew: such rows have no sure date."""
    deleted = 0
    rejects = ImportReject.objects.of(installation)
    for rows in _batches(rejects):
        ids = {
            row.pk: {*_ids_of_values(json.loads(row.row)), *_ids_of_text(row.reason)}
            for row in rows
        }
        gone = _gone(installation, ids.values())
        known = _known(installation, gone.until)
        theirs = [pk for pk, own in ids.items() if any(id_ in gone.until for id_ in own - known)]
        deleted += rejects.filter(pk__in=theirs).delete()[0]
    return deleted


def _ids_of_values(values: Iterable[Any]) -> Iterator[Id]:
    for value in values:
        yield from _ids_of_text(str(value))


def _known(installation: Installation, ids: Iterable[Id]) -> set[Id]:
    values = [value for _, value in ids]
    rows = Identity.objects.of(installation).filter(value__in=values)
    return {(IdentityKind(kind), value) for kind, value in rows.values_list("kind", "value")}


def _sweep_uploads(installation: Installation, now: datetime) -> int:
    deleted = 0
    waiting = Import.objects.of(installation).exclude(path="").exclude(status__in=imports.OPEN)
    for run in waiting:
        if _holds_erased(run):
            stored.delete(run.path)
            deleted += Import.objects.of(installation).filter(pk=run.pk, path=run.path).update(
                path="", status=ImportStatus.FAILED, error=UPLOAD_DELETED, finished_at=now
            )  # fmt: skip
    return deleted


def _holds_erased(run: Import) -> bool:
    options = Options.from_json(run.options)
    try:
        with stored.opened(run.path) as file:
            table = open_table(
                file,
                name=run.file_name,
                encoding=options.encoding,
                delimiter=options.delimiter,
            )
            rows = (set(_ids_of_values(row.values)) for row in table.rows())
            return any(
                gone.covers_any(gone.until, run.created_at)
                for gone in (_gone(run.installation, batch) for batch in _in_batches(rows))
            )
    except (UnreadableFile, FileNotFoundError):
        # Nobody can import it either; it goes with IMPORT_RETENTION.
        return False


# -- both ----------------------------------------------------------------------------------------------


def _gone(installation: Installation, ids: Iterable[Iterable[Id]]) -> Gone:
    return tombstones.look_up(installation, {id_ for own in ids for id_ in own})


def _batches(rows: Any) -> Iterator[Sequence[Any]]:
    """Yield rows in the order of their keys; what is deleted meanwhile disturbs nothing."""
    last = 0
    while batch := list(rows.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield batch
        last = batch[-1].pk


def _in_batches(found: Iterator[set[Id]]) -> Iterator[list[set[Id]]]:
    batch: list[set[Id]] = []
    for ids in found:
        batch.append(ids)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch
