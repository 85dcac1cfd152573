"""The manifest of a batch: what belongs to each ear."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.batches.archive import ARCHIVE
from api.uploads import FIELDS, IMAGE
from model.errors import InputError, OptionError

MANIFEST = "manifest"
_NAME = "name"


@dataclass(frozen=True)
class Ear:
    """One ear of a batch.

    Attributes:
        image: its file; None when the manifest names one that did not come.
        entry: what the manifest says of it.
    """

    image: Path | None
    entry: Mapping[str, Any]

    def fields(self, common: Mapping[str, str]) -> dict[str, str]:
        """Give the fields as the form of a single job would have them; the manifest goes before the common ones.

        Raises:
            OptionError: when the manifest names an unknown field, or a value is of a wrong kind.
        """
        return {**common, **{name: _text(name, value) for name, value in self.entry.items() if name != _NAME}}


def ears_of_parts(images: Sequence[Path], manifest: str | None) -> list[Ear]:
    """Pair repeated `image` parts with the entries of the manifest, in order.

    Raises:
        InputError: when the manifest is malformed or of another length.
    """
    entries = _entries(manifest) if manifest is not None else [{} for _ in images]
    if len(entries) != len(images):
        raise _refused("the manifest does not fit the images", f"{len(images)} entries", str(len(entries)))
    if any(_NAME in entry for entry in entries):
        raise _refused(
            "the manifest names files, but there is no archive", "entries in the order of the images", "names"
        )
    return [Ear(image, entry) for image, entry in zip(images, entries, strict=True)]


def ears_of_archive(files: Mapping[str, Path], manifest: str | None) -> list[Ear]:
    """Pair the members of an archive with the entries of the manifest, which `name` them.

    Raises:
        InputError: when the manifest is malformed, or an entry names no member or one that is taken.
    """
    if manifest is None:
        return [Ear(path, {}) for path in files.values()]
    entries = _entries(manifest)
    names = [entry.get(_NAME) for entry in entries]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise _refused("an entry of the manifest names no file", "a different `name` of a member in each", "another")
    if set(files) - set(names):
        raise _refused("the manifest leaves files of the archive out", f"{len(files)} entries", str(len(entries)))
    return [Ear(files.get(str(name)), entry) for name, entry in zip(names, entries, strict=True)]


def missing(images: Sequence[Path], archives: Sequence[Path]) -> InputError | None:
    """Give the error for a form with neither or both kinds of files."""
    if bool(images) != bool(archives):
        return None
    found = "both" if images else "neither"
    return InputError("there is no one source of images", expected=f"{IMAGE} parts, or one {ARCHIVE}", found=found)


def _entries(text: str) -> list[dict[str, Any]]:
    """Read the JSON array."""
    try:
        document = json.loads(text)
        # JSON can name halves of characters (lone surrogates), which are no text and can be neither kept nor answered.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _refused("the manifest is no JSON", "a JSON array with an object for each ear", "other text") from error
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise _refused("the manifest is no list of ears", "a JSON array with an object for each ear", "another value")
    return document


def _text(name: str, value: object) -> str:
    """Give a value of the manifest as the text of a form field."""
    if name not in FIELDS:
        raise OptionError(
            "the manifest has a field of an unknown name",
            expected=", ".join((_NAME, *FIELDS)),
            found=ascii(name[:80]),
            hint="mind the spelling",
            field=name[:80] or None,
        )
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise OptionError(
        "a value of the manifest is of a wrong kind", expected="text", found=type(value).__name__, field=name
    )


def _refused(detail: str, expected: str, found: str) -> InputError:
    """Give the error for a manifest."""
    return InputError(detail, expected=expected, found=found, field=MANIFEST)
