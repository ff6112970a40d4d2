"""From rows of text to purchases, each good or refused with a reason."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import numpy as np
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from saleor_personalize.conf import settings
from saleor_personalize.enums import IdentityKind
from saleor_personalize.events.offline import Purchase, PurchaseLine
from saleor_personalize.ingestion.imports.columns import HEAD, KEYS, Mapped, Options
from saleor_personalize.ingestion.imports.files import Fault, Row, Table
from saleor_personalize.ingestion.imports.products import Found, Products

MAX_NUMBER = 64
MAX_TEXT = 255
MAX_NAME = 500
MAX_QUANTITY = 1_000_000
MAX_AMOUNT = Decimal(10) ** 12
#: Nobody's purchases are older; a year 0001 is a fault of the export.
OLDEST = datetime(1970, 1, 1, tzinfo=UTC)
YES = frozenset(
    [
        "yes",
        "y",
        "true",
        "1",
        "on",
        "ja",
        "oui",
        "si",
        "sí",
        "tak",
        "granted",
        "opt-in",
        "opted-in",
        "subscribed",
    ]
)
NO = frozenset(
    [
        "no",
        "n",
        "false",
        "0",
        "off",
        "nein",
        "non",
        "nie",
        "denied",
        "opt-out",
        "opted-out",
        "unsubscribed",
    ]
)

#: A space before the offset, as many shop systems write it.
_LOOSE_ZONE = re.compile(r"\s+(?:(?=[+-]\d{2}:?\d{2}$)|UTC$)")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ ,T]+(\d{1,2}:\d{2}(?::\d{2})?))?")
_GROUPED = {
    ".": re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?"),
    ",": re.compile(r"\d{1,3}(\.\d{3})+(,\d+)?"),
}
_PLAIN = {".": re.compile(r"\d+(\.\d+)?"), ",": re.compile(r"\d+(,\d+)?")}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row with what it takes from the row before; `cells` has a text for each of our columns."""

    row: Row
    cells: Mapping[str, str]
    order: int
    head: int
    line: int

    @property
    def number(self) -> str:
        return self.cells.get("number", "")


def entries(table: Table, mapping: Mapped) -> Iterator[Entry]:
    """Yield the rows of a table; those of one order may leave empty what its row before them says."""
    places = {ours: table.columns.index(theirs) for ours, theirs in mapping.items()}
    head = [ours for ours in HEAD if ours in places]
    before: dict[str, str] = {}
    for row in table.rows():
        if row.fault:
            yield Entry(row, {}, 0, 0, 0)
            continue
        cells = {ours: row.values[place].strip() for ours, place in places.items()}
        if before.get("number") == cells["number"]:
            for ours in head:
                cells[ours] = cells[ours] or before[ours]
        before = cells
        number = cells["number"]
        yield Entry(
            row,
            cells,
            hash(number),
            hash(tuple(cells[ours] for ours in head)),
            hash((number, *_line(cells))),
        )


def _line(cells: Mapping[str, str]) -> tuple[str, str]:
    """Return what tells the lines of an order apart."""
    if cells.get("line"):
        return "line", cells["line"]
    return "product", cells.get("product") or cells.get("name", "")


@dataclass
class Survey:
    """What must be known of a whole file before its first row: read by numbers, 24 bytes a row."""

    row_count: int = 0
    #: Lines that an order has more than once.
    repeated: frozenset[int] = frozenset()
    #: order -> its first head, for orders whose rows disagree.
    heads: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Iterable[Entry]) -> Survey:
        orders, heads, lines = array("q"), array("q"), array("q")
        count = 0
        for entry in found:
            count += 1
            if entry.cells:
                orders.append(entry.order)
                heads.append(entry.head)
                lines.append(entry.line)
        if not lines:
            return cls(count)
        values, times = np.unique(np.frombuffer(lines, dtype=np.int64), return_counts=True)
        repeated = frozenset(values[times > 1].tolist())
        pairs = np.stack(
            [np.frombuffer(orders, dtype=np.int64), np.frombuffer(heads, dtype=np.int64)]
        )
        _, firsts = np.unique(pairs, axis=1, return_index=True)
        firsts.sort()
        of_order = pairs[0][firsts]
        values, index, times = np.unique(of_order, return_index=True, return_counts=True)
        several = times > 1
        first_heads = pairs[1][firsts[index[several]]]
        return cls(
            count, repeated, dict(zip(values[several].tolist(), first_heads.tolist(), strict=True))
        )


@dataclass
class Reader:
    """Turns rows into purchases. Every row passes through it, in order, also those handled before."""

    mapping: Mapped
    options: Options
    survey: Survey
    #: slug -> currency
    channels: Mapping[str, str]
    products: Products
    now: datetime
    _times: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._zone = ZoneInfo(self.options.timezone)
        self._currencies = {*self.channels.values(), self.options.currency} - {""}
        self._latest = self.now + settings.TRACK_MAX_CLOCK_SKEW
        self._channel = self.options.channel or (
            next(iter(self.channels)) if len(self.channels) == 1 else ""
        )

    def occurrence(self, entry: Entry) -> int:
        """Return how often this line of this order has come up to here."""
        if entry.line not in self.survey.repeated:
            return 1
        self._times[entry.line] += 1
        return self._times[entry.line]

    def prepare(self, batch: Sequence[Entry]) -> None:
        """Look up the products of the rows that are read next."""
        self.products.look_up(
            {
                entry.cells.get("product") or entry.cells.get("name", "")
                for entry in batch
                if not entry.row.fault
            }
        )

    def read(self, entry: Entry, occurrence: int) -> Purchase | Fault:
        if entry.row.fault:
            return entry.row.fault
        cells = entry.cells
        try:
            number = self._number(cells)
            self._check_head(entry)
            placed_at, is_day = self._placed_at(cells["placed_at"])
            channel = self._channel_of(cells)
            total = self._amount(cells.get("total", ""), "total")
            return Purchase(
                number=number,
                placed_at=placed_at,
                day_in=self._zone if is_day else None,
                channel_slug=channel,
                currency=self._currency(cells, channel),
                total=total,
                shown=self._shown(cells),
                line=self._line(cells, occurrence, total),
                opt_in=self._opt_in(cells.get("marketing_opt_in", "")),
            )
        except _Refused as refusal:
            return refusal.fault

    def _check_head(self, entry: Entry) -> None:
        if self.survey.heads.get(entry.order, entry.head) != entry.head:
            raise _Refused(
                "ORDER_DIFFERS",
                "Date, person, currency, channel or total differ from the order's first row. "
                "All rows of an order say the same, or leave it empty.",
            )

    @staticmethod
    def _number(cells: Mapping[str, str]) -> str:
        number = cells["number"]
        if not number:
            raise _Refused("NUMBER_MISSING", "The row has no order number.")
        _short("number", number, MAX_NUMBER)
        return number

    def _placed_at(self, text: str) -> tuple[datetime, bool]:
        if not text:
            raise _Refused("BAD_DATE", "The row has no date.")
        try:
            moment, is_day = self._moment(text)
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise _Refused(
                "BAD_DATE",
                f"{text[:40]!r} is no date. Write 2026-03-31, 2026-03-31T14:30+02:00 or 31.03.2026 14:30, "
                "or name the format of the file.",
            ) from None
        if moment < OLDEST:
            raise _Refused("BAD_DATE", f"{text[:40]!r} lies before 1970.")
        if (moment - timedelta(days=1) if is_day else moment) > self._latest:
            raise _Refused("FUTURE_DATE", f"{text[:40]!r} lies in the future.")
        return moment, is_day

    def _moment(self, text: str) -> tuple[datetime, bool]:
        if self.options.date_format:
            moment = datetime.strptime(text, self.options.date_format)  # noqa: DTZ007 (zoned below)
        else:
            dotted = _DOTTED.fullmatch(text)
            if dotted:
                day, month, year, clock = dotted.groups()
                moment = datetime.combine(
                    date(int(year), int(month), int(day)),
                    time.fromisoformat(clock.zfill(5) if clock.count(":") == 1 else clock.zfill(8))
                    if clock
                    else time(),
                )
            else:
                moment = datetime.fromisoformat(_LOOSE_ZONE.sub("", text))
        # Midnight on the dot is what programs write when they know the day only. Its end counts.
        is_day = moment.tzinfo is None and moment.time() == time()
        if is_day:
            moment = moment.replace(hour=23, minute=59, second=59)
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)), is_day

    def _channel_of(self, cells: Mapping[str, str]) -> str:
        channel = cells.get("channel") or self._channel
        if channel not in self.channels:
            said = (
                f"{channel[:60]!r} is no sales channel" if channel else "The row names no channel"
            )
            raise _Refused("UNKNOWN_CHANNEL", f"{said}. Known: {', '.join(self.channels)}.")
        return channel

    def _currency(self, cells: Mapping[str, str], channel: str) -> str:
        currency = cells.get("currency", "").upper() or self.options.currency
        if not currency:
            return self.channels[channel]
        if currency not in self._currencies:
            raise _Refused(
                "UNKNOWN_CURRENCY",
                f"{currency[:20]!r} is no currency of the shop. Known: "
                f"{', '.join(sorted(self._currencies))}.",
            )
        return currency

    def _shown(self, cells: Mapping[str, str]) -> dict[IdentityKind, str]:
        shown: dict[IdentityKind, str] = {}
        for ours, kind in KEYS.items():
            value = cells.get(ours, "")
            if not value:
                continue
            _short(ours, value, MAX_TEXT)
            if ours == "email":
                try:
                    validate_email(value)
                except ValidationError:
                    raise _Refused("BAD_EMAIL", "The e-mail address is none.") from None
            if ours == "saleor_user" and not _is_user(value):
                raise _Refused(
                    "BAD_USER",
                    f"{value[:40]!r} is no global id of a Saleor user, such as VXNlcjox.",
                )
            if ours in self.options.match:
                shown[kind] = value
        return shown

    def _line(
        self, cells: Mapping[str, str], occurrence: int, total: Decimal | None
    ) -> PurchaseLine | None:
        text, name = cells.get("product", ""), cells.get("name", "")
        if not text and not name:
            if total is None:
                raise _Refused("NOTHING_BOUGHT", "The row has neither a product nor a total.")
            return None
        kind, told_by = _line(cells)
        if kind == "line" and occurrence > 1:
            raise _Refused("DUPLICATE_LINE", f"Line {told_by[:40]} of this order came before.")
        product = self._product(text or name)
        quantity = self._quantity(cells.get("quantity", ""))
        _short("name", name, MAX_NAME)
        digest = hashlib.blake2b(f"{kind}:{told_by}".encode(), digest_size=8).hexdigest()
        return PurchaseLine(
            key=f"{digest}:{occurrence}",
            product_id=product.product_id,
            variant_id=product.variant_id,
            name=name or product.name or text[:MAX_NAME],
            quantity=quantity,
            unit_price=self._unit_price(cells, quantity, total),
        )

    def _product(self, text: str) -> Found:
        _short("product", text, MAX_TEXT)
        found = self.products.find(text)
        if isinstance(found, Found):
            return found
        if found.code == "UNKNOWN_PRODUCT" and self.options.unknown_products == "keep":
            return Found("", "", "")
        raise _Refused(found.code, found.reason)

    def _unit_price(
        self, cells: Mapping[str, str], quantity: int, total: Decimal | None
    ) -> Decimal:
        price = self._amount(cells.get("unit_price", ""), "unit_price")
        if price is not None:
            return price
        of_line = self._amount(cells.get("line_total", ""), "line_total")
        if of_line is not None:
            return _rounded(of_line / quantity)
        if total is None:
            raise _Refused("AMOUNT_MISSING", "The row has no price, and the order no total.")
        return Decimal(0)

    def _amount(self, text: str, name: str) -> Decimal | None:
        if not text:
            return None
        mark = self.options.decimal
        plain = re.sub(r"[\s\u00a0\u202f']|^[^\d(+-]+|[^\d)]+$", "", text)
        if plain.startswith(("-", "(")) or text.endswith("-"):
            raise _Refused(
                "NEGATIVE_AMOUNT", f"{name} is {text[:40]!r}. Returns and refunds are not imported."
            )
        plain = plain.removeprefix("+")
        if not (_PLAIN[mark].fullmatch(plain) or _GROUPED[mark].fullmatch(plain)):
            other = "," if mark == "." else "."
            raise _Refused(
                "BAD_AMOUNT",
                f"{name} is {text[:40]!r}, which is no amount. If {other!r} marks the decimals in this "
                "file, say so.",
            )
        try:
            amount = Decimal(plain.replace("," if mark == "." else ".", "").replace(",", "."))
        except InvalidOperation:
            raise _Refused("BAD_AMOUNT", f"{name} is {text[:40]!r}, which is no amount.") from None
        if amount >= MAX_AMOUNT:
            raise _Refused("BAD_AMOUNT", f"{name} is {text[:40]!r}, which is too much.")
        return _rounded(amount)

    def _quantity(self, text: str) -> int:
        if not text:
            return 1
        if text.startswith("-"):
            raise _Refused(
                "NEGATIVE_AMOUNT", f"quantity is {text[:40]!r}. Returns are not imported."
            )
        whole = re.fullmatch(rf"(\d{{1,9}})(?:{re.escape(self.options.decimal)}0+)?", text)
        if not whole or not 1 <= int(whole[1]) <= MAX_QUANTITY:
            raise _Refused(
                "BAD_QUANTITY", f"quantity is {text[:40]!r}. Write a whole number from 1."
            )
        return int(whole[1])

    @staticmethod
    def _opt_in(text: str) -> bool | None:
        word = text.lower()
        if not word:
            return None
        if word in YES or word in NO:
            return word in YES
        raise _Refused(
            "BAD_CONSENT", f"marketing_opt_in is {text[:40]!r}. Write yes, no or nothing."
        )


class _Refused(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(code, reason)


def _short(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise _Refused("TOO_LONG", f"{name} has {len(value)} characters; {most} are allowed.")


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.001"), rounding=ROUND_HALF_UP)


def _is_user(value: str) -> bool:
    try:
        return re.fullmatch(rb"User:\d+", base64.b64decode(value, validate=True)) is not None
    except (binascii.Error, ValueError):
        return False
