"""Files as rows of text, whatever their format; never more than a few rows of them in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, BinaryIO, Protocol

from django.utils.translation import gettext as _

from saleor_personalize.exceptions import PersonalizeError

ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1250", "iso-8859-2", "iso-8859-15")
DELIMITERS = (",", ";", "\t", "|")
#: Longest line that is read as one; what follows is another row, and not a good one.
MAX_LINE = 1_000_000
#: Most columns of a file.
MAX_COLUMNS = 500
#: Most bytes of one column of a Parquet file (of a row group) once it is unpacked.
MAX_UNPACKED = 256_000_000
#: Rows that tell what a file looks like.
SAMPLE = 20

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class UnreadableFile(PersonalizeError):
    """A file as a whole cannot be read; nothing of it was taken."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is not taken. `code` is stable, `reason` tells whoever mends the file what to do."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number from 1, its texts in the order of the columns, and what is wrong with it."""

    number: int
    values: Sequence[str]
    fault: Fault | None = None


class Table(Protocol):
    """A file that was opened. `rows` starts anew each time; two of them must not be mixed."""

    columns: list[str]

    def rows(self) -> Iterator[Row]: ...


def open_table(file: BinaryIO, *, name: str, encoding: str = "utf-8", delimiter: str = "") -> Table:
    """Open a file by the ending of its name; an empty delimiter is found out.

    Raises UnreadableFile with what to do about it.
    """
    format_ = _FORMATS.get(PurePath(name).suffix.lower())
    if format_ is None:
        raise UnreadableFile(
            _("Files end in .csv, .tsv, .txt, .jsonl, .ndjson or .parquet. This one does not.")
        )
    if encoding not in ENCODINGS:
        raise UnreadableFile(
            _("There is no encoding “%(given)s”. Known: %(known)s.")
            % {"given": encoding[:60], "known": ", ".join(ENCODINGS)}
        )
    if delimiter not in ("", *DELIMITERS):
        raise UnreadableFile(
            _("“%(given)s” is no delimiter. Known: comma, semicolon, tab and |.")
            % {"given": delimiter[:60]}
        )
    if format_ == "parquet":
        return _Parquet(file)
    if format_ == "jsonl":
        return _JsonLines(file, _encoding(file, encoding))
    return _Csv(file, _encoding(file, encoding), delimiter)


def read_columns(file: BinaryIO, *, name: str) -> Any:
    """Read a whole file into memory: a Parquet table as it is, other formats as lists of texts by column.

    A text that is empty is None. Raises UnreadableFile with what to do about it.
    """
    table = open_table(file, name=name)
    if isinstance(table, _Parquet):
        return table.read()
    columns: dict[str, list[str | None]] = {column: [] for column in table.columns}
    for row in table.rows():
        if row.fault is not None:
            raise UnreadableFile(
                _("Row %(number)s cannot be read. %(reason)s")
                % {"number": row.number, "reason": row.fault.reason}
            )
        for column, value in zip(table.columns, row.values, strict=True):
            columns[column].append(value or None)
    return columns


def _encoding(file: BinaryIO, given: str) -> str:
    """Return how to decode; the mark that some programs put before the text says more than an option."""
    file.seek(0)
    start = file.read(3)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return "utf-8-sig" if start == b"\xef\xbb\xbf" or given == "utf-8" else given


def _lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    # What cannot be decoded becomes a lone surrogate, so that only its row is lost.
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    try:
        while line := text.readline(MAX_LINE):
            yield line
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            _("The file is not %(encoding)s. Name its own encoding.") % {"encoding": encoding}
        ) from error
    finally:
        text.detach()


def _undecodable(values: Sequence[str], encoding: str) -> Fault | None:
    if any("\ud800" <= char <= "\udfff" for value in values for char in value):
        shown = "UTF-8" if encoding == "utf-8-sig" else encoding
        return Fault(
            "ENCODING",
            f"Some letters are not {shown}. Import the file with its own encoding, such as latin-1.",
        )
    if any("\x00" in value for value in values):
        return Fault("ENCODING", "The row holds NUL, which is no text. Remove it.")
    return None


class _Csv:
    def __init__(self, file: BinaryIO, encoding: str, delimiter: str) -> None:
        self._file, self._encoding = file, encoding
        sample = list(islice(_lines(file, encoding), SAMPLE))
        self._delimiter = delimiter or _sniff(sample)
        try:
            header = next((row for row in self._parse() if not isinstance(row, csv.Error)), [])
        except StopIteration:
            header = []
        self.columns = _checked([name.strip() for name in header])

    def _parse(self) -> Iterator[list[str] | csv.Error]:
        reader = csv.reader(_lines(self._file, self._encoding), delimiter=self._delimiter)
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield error
                continue
            if any(values):
                yield values

    def rows(self) -> Iterator[Row]:
        count = len(self.columns)
        for number, values in enumerate(islice(self._parse(), 1, None), start=1):
            if isinstance(values, csv.Error):
                yield Row(
                    number,
                    [],
                    Fault("TOO_LONG", "The row is too long, or a quotation mark is never closed."),
                )
            elif len(values) != count:
                fault = Fault(
                    "WRONG_COLUMNS",
                    f"The row has {len(values)} values, the header names {count}. A value with the "
                    "delimiter in it needs quotation marks.",
                )
                yield Row(number, values[:MAX_COLUMNS], fault)
            else:
                yield Row(number, values, _undecodable(values, self._encoding))


def _sniff(sample: Sequence[str]) -> str:
    """Return the delimiter that cuts most of the first lines into the same number of columns."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            rows = [row for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            return (0, 0)
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows) if width > 1 else 0, width)

    return max(DELIMITERS, key=score)


class _JsonLines:
    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file, self._encoding = file, encoding
        found: dict[str, None] = {}
        for _number, value in islice(self._parse(), SAMPLE * 50):
            if isinstance(value, dict):
                found.update(dict.fromkeys(value))
        self.columns = _checked(list(found))

    def _parse(self) -> Iterator[tuple[int, Any]]:
        number = 0
        for line in _lines(self._file, self._encoding):
            if not line.strip():
                continue
            number += 1
            try:
                # Numbers stay as they are written: 12.10 is no 12.1.
                yield number, json.loads(line, parse_float=str, parse_int=str)
            except (ValueError, RecursionError):
                yield number, None

    def rows(self) -> Iterator[Row]:
        for number, value in self._parse():
            if not isinstance(value, dict):
                yield Row(number, [], Fault("NOT_JSON", "The line is no JSON object."))
                continue
            cells = [value.get(name) for name in self.columns]
            if any(isinstance(cell, dict | list) for cell in cells):
                fault = Fault("NESTED", "A value is a list or an object. A row takes flat values.")
                yield Row(number, [_text(cell) for cell in cells], fault)
                continue
            values = [_text(cell) for cell in cells]
            yield Row(number, values, _undecodable(values, self._encoding))


class _Parquet:
    def __init__(self, file: BinaryIO) -> None:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise UnreadableFile(
                _(
                    "Parquet files need one more library where this service runs: pip install "
                    "'saleor-personalize[parquet]'. Or bring the file as .csv or .jsonl."
                )
            ) from error
        file.seek(0)
        try:
            schema = ParquetFile(file).schema_arrow
            texts = [field.name for field in schema if _is_text(field.type)]
            # A text that stands in a million rows is packed, read and kept once.
            self._file = ParquetFile(file, read_dictionary=texts)
        except (ArrowException, OSError) as error:
            raise UnreadableFile(_("The file is no Parquet file, or was cut off.")) from error
        self._broken = (ArrowException, OSError)
        flat = [field.name for field in schema if not field.type.num_fields]
        self.columns = _checked(flat)
        if _unpacked(self._file.metadata) > MAX_UNPACKED:
            raise UnreadableFile(
                _("The file is too large once it is unpacked. Write it with smaller row groups.")
            )

    def read(self) -> Any:
        try:
            return self._file.read()
        except self._broken as error:
            raise UnreadableFile(_("The file is no Parquet file, or was cut off.")) from error

    def rows(self) -> Iterator[Row]:
        number = 0
        try:
            for batch in self._file.iter_batches(batch_size=500, columns=self.columns):
                columns = [_cells(batch.column(name)) for name in self.columns]
                for values in zip(*columns, strict=True):
                    number += 1
                    if None in values:
                        fault = Fault("TOO_LONG", f"A value has more than {MAX_LINE} letters.")
                        yield Row(number, [value or "" for value in values], fault)
                    else:
                        yield Row(number, values, _undecodable(values, "UTF-8"))
        except self._broken as error:
            raise UnreadableFile(
                _("The file cannot be read after row %(number)s.") % {"number": number}
            ) from error


def _unpacked(metadata: Any) -> int:
    """Return the bytes of the largest column of a row group."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    return max(
        (
            group.column(index).total_uncompressed_size
            for group in groups
            for index in range(group.num_columns)
        ),
        default=0,
    )


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )


def _cells(column: Any) -> list[str | None]:
    """Return the texts of a column; None for one that is too long to be any of ours."""
    from pyarrow import DictionaryArray

    if not isinstance(column, DictionaryArray):
        return [_text(value) for value in column.to_pylist()]
    places = column.indices.unique().drop_null()
    found = [_text(value) for value in column.dictionary.take(places).to_pylist()]
    texts: dict[int | None, str | None] = {
        place: text if len(text) <= MAX_LINE else None
        for place, text in zip(places.to_pylist(), found, strict=True)
    }
    texts[None] = ""
    return [texts[place] for place in column.indices.to_pylist()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)


def _checked(columns: list[str]) -> list[str]:
    if not any(columns):
        raise UnreadableFile(_("The file is empty. Its first row names the columns."))
    if len(columns) > MAX_COLUMNS:
        raise UnreadableFile(
            _("The file has %(count)s columns; %(most)s are allowed.")
            % {"count": len(columns), "most": MAX_COLUMNS}
        )
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise UnreadableFile(
            _("The header names “%(name)s” twice. Give each column its own name.")
            % {"name": twice[0][:60]}
        )
    if _undecodable(columns, ""):
        raise UnreadableFile(_("The header cannot be read in this encoding. Name its own one."))
    return columns
