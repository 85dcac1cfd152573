"""API keys and the file they are kept in.

A key reads `cochlear_<id>_<secret>`: the id is public and names the key in records and lists, the secret is 256 random
bits. The file holds the SHA-256 of the secret only. A fast hash is enough here: slow ones (bcrypt, scrypt) make
guessing expensive where the secret is a word that a person chose; nobody guesses 256 random bits, however fast the hash
(NIST SP 800-63B, 5.1.2.2, asks for salted, slow hashing below 112 bits only). Salt would add nothing, as no two secrets
are alike.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from api.access.caller import Scope
from model.errors import CochlearError, InputError

_TEXT = re.compile(r"cochlear_([0-9a-f]{12})_([0-9a-f]{64})")
_NOBODY = "0" * 64
"""Digest that no secret is known to have; compared with when there is no key of that id."""


class KeyFileError(CochlearError):
    """The file of keys cannot be used; nobody is let in meanwhile."""

    code = "keys-unavailable"
    title = "The file of API keys cannot be used"


class UnknownKeyError(InputError):
    """There is no key of that id."""

    code = "unknown-key"
    title = "There is no such API key"


class ApiKey(BaseModel):
    """What is kept of a key.

    Attributes:
        id: public name of the key; the owner of the jobs submitted with it.
        name: what it is for, in the words of whoever made it.
        scopes: what it allows.
        created_at: when it was made.
        expires_at: when it ends, or None for never.
        sha256: hexadecimal SHA-256 of the secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    sha256: str

    @field_validator("created_at", "expires_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        """Refuse a time whose zone is not said."""
        if value is not None and value.tzinfo is None:
            raise ValueError("the time needs its zone")
        return value

    def expired(self, now: datetime) -> bool:
        """Tell whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


class _Document(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = []


def new_key(name: str, scopes: Iterable[Scope], expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """Make a key; give what is kept, and the text for its owner, which nothing can restore."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    kept = ApiKey(
        id=key_id,
        name=name,
        scopes=frozenset(scopes),
        created_at=datetime.now(UTC).replace(microsecond=0),
        expires_at=expires_at,
        sha256=_digest(secret),
    )
    return kept, f"cochlear_{key_id}_{secret}"


class KeyFile:
    """The file of keys: JSON, readable by its owner only, replaced as a whole.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is read yet."""
        self._path = path

    def read(self) -> dict[str, ApiKey]:
        """Give the keys by id; none when there is no file.

        Raises:
            KeyFileError: when it cannot be read, is damaged, or could be changed by other users.
        """
        try:
            with self._path.open("rb") as file:
                mode, text = os.fstat(file.fileno()).st_mode, file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise KeyFileError("the file cannot be read", found=(error.strerror or "").lower()) from error
        if mode & 0o022:
            raise KeyFileError(
                "other users may change the file",
                expected="mode 0600",
                found=f"{mode & 0o777:04o}",
                hint="chmod 600 it",
            )
        try:
            return {kept.id: kept for kept in _Document.model_validate_json(text).keys}
        except ValidationError as error:
            raise KeyFileError(
                "the file is damaged", found=f"{error.error_count()} faults", hint="restore it"
            ) from None

    def add(self, kept: ApiKey) -> None:
        """Add a key."""
        with self._edited() as keys:
            keys[kept.id] = kept

    def remove(self, key_id: str) -> ApiKey:
        """Take a key out and give it.

        Raises:
            UnknownKeyError: when there is none of that id.
        """
        with self._edited() as keys:
            if key_id not in keys:
                raise UnknownKeyError(
                    "no key has this id", expected="an id of `cochlear keys list`", found=ascii(key_id[:80])
                )
            return keys.pop(key_id)

    def stamp(self) -> tuple[int, ...] | None:
        """Give what changes whenever the file is replaced or edited; None when there is no file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    @contextmanager
    def _edited(self) -> Iterator[dict[str, ApiKey]]:
        """Give the keys to edit and put them into place; two editors at once wait for each other."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.with_name(self._path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.read()
            yield keys
            self._replace(_Document(keys=list(keys.values())).model_dump_json(indent=2) + "\n")

    def _replace(self, text: str) -> None:
        """Put a new file, mode 0600 as temporary files are, into the place of the old; readers see one or the other."""
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".keys-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise


class KeyRing:
    """The keys as a running service knows them: read again whenever the file has changed.

    Args:
        file: where they are kept; on several machines each may have a copy, or a secret mounted read-only.
    """

    def __init__(self, file: KeyFile) -> None:
        """Remember the file; it is read when first asked."""
        self._file = file
        self._stamp: tuple[int, ...] | None = None
        self._keys: Mapping[str, ApiKey] = {}

    @property
    def empty(self) -> bool:
        """Whether there is no key at all."""
        return not self._known()

    def find(self, text: str) -> ApiKey | None:
        """Give the valid key with this text, or None; takes the same time whatever is wrong with it.

        Raises:
            KeyFileError: when the file cannot be used.
        """
        match = _TEXT.fullmatch(text)
        key_id, secret = match.groups() if match else ("", "")
        kept = self._known().get(key_id)
        same = hmac.compare_digest(_digest(secret), _NOBODY if kept is None else kept.sha256)
        return kept if kept is not None and same and not kept.expired(datetime.now(UTC)) else None

    def _known(self) -> Mapping[str, ApiKey]:
        """Give the keys of the file as it is now."""
        # The stamp is taken first: a change while reading is then seen the next time.
        stamp = self._file.stamp()
        if stamp is None:
            self._keys = {}
        elif stamp != self._stamp:
            self._keys = self._file.read()
        self._stamp = stamp
        return self._keys


def _digest(secret: str) -> str:
    """Give the hexadecimal SHA-256 of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
