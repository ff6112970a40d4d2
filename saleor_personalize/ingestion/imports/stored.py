"""Uploaded files between upload and import: encrypted in the storage, plain only where they are read."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from django.core.files.base import File
from django.core.files.storage import Storage

from saleor_personalize.conf import build_one
from saleor_personalize.models.fields import decrypt_bytes, encrypt_bytes

#: Bytes that are encrypted together.
CHUNK = 1_000_000
_LENGTH = 4


def storage() -> Storage:
    found: Storage = build_one("IMPORT_STORAGE")
    return found


def save(chunks: Iterable[bytes]) -> tuple[str, str]:
    """Store a file; return its path in the storage and the sha256 (hex) of what it holds."""
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as sealed:
        for chunk in chunks:
            digest.update(chunk)
            for start in range(0, len(chunk), CHUNK):
                token = encrypt_bytes(chunk[start : start + CHUNK])
                sealed.write(len(token).to_bytes(_LENGTH, "big") + token)
        sealed.seek(0)
        path = storage().save(f"{uuid.uuid4()}.sealed", File(sealed))
    return path, digest.hexdigest()


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a stored file for reading. The plain text has no name on the disk and goes with the process."""
    with tempfile.TemporaryFile() as plain:
        with storage().open(path) as sealed:
            while length := sealed.read(_LENGTH):
                plain.write(decrypt_bytes(sealed.read(int.from_bytes(length, "big"))))
        plain.seek(0)
        yield plain


def delete(path: str) -> None:
    """Delete a stored file; one that is gone already is no fault."""
    if path:
        storage().delete(path)


def digest_of(file: BinaryIO) -> str:
    """Return the sha256 (hex) of a file."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
