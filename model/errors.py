"""The errors of the project: typed where they arise, translated once at the edge.

Every error says what was expected, what came and what to do, without echoing paths or patient values. The command line
turns `InputError` into exit code 2 and every other `CochlearError` into exit code 1; the service turns them into
RFC 9457 problem documents by their `code`.
"""

from __future__ import annotations

from typing import ClassVar


class CochlearError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        code: stable, kebab-case name of the kind of error (the last part of a problem `type`).
        title: one short sentence for the kind of error.
        detail: what happened in this case, in one sentence.
        expected: what would have been accepted, or None.
        found: what came instead, or None.
        hint: what the user can do, or None.
        field: the input at fault (`image`, `landmarks`, `side`, `bundle`, `formats`), or None.
    """

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
        field: str | None = None,
    ) -> None:
        """Keep what happened; see the attributes."""
        super().__init__(detail)
        self.detail = detail
        self.expected = expected
        self.found = found
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        """One line: detail, then what was expected and found, then the hint."""
        parts = [self.detail]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(part.rstrip(".;") for part in parts)


class InputError(CochlearError):
    """The caller's input cannot be used; the caller can mend it."""

    code = "invalid-input"
    title = "The input cannot be used"


class ImageError(InputError):
    """The image file cannot be read, or what it holds is not the CT of an ear."""

    code = "invalid-image"
    title = "The image cannot be used"


class ImageTooLargeError(ImageError):
    """The image is larger than the stated caps, compressed or decompressed."""

    code = "image-too-large"
    title = "The image is too large"


class LandmarksError(InputError):
    """The landmarks are missing, malformed, degenerate, outside the image or of the other side."""

    code = "invalid-landmarks"
    title = "The landmarks cannot be used"


class OptionError(InputError):
    """An option or field has a value that is not offered."""

    code = "invalid-option"
    title = "An option cannot be used"


class MeshError(InputError):
    """A mesh file cannot be read, or the surface is not closed where it has to be."""

    code = "invalid-mesh"
    title = "The mesh cannot be used"


class ReleaseError(InputError):
    """A file of the published release is missing, damaged or does not fit the others."""

    code = "invalid-release"
    title = "The published release cannot be imported"


class BundleError(InputError):
    """A model bundle cannot be used."""

    code = "invalid-bundle"
    title = "The model bundle cannot be used"


class UnknownBundleError(BundleError):
    """No bundle of that name or path."""

    code = "unknown-bundle"
    title = "There is no such model bundle"


class DamagedBundleError(BundleError):
    """A file of the bundle is missing or differs from its digest, count or shape."""

    code = "damaged-bundle"
    title = "The model bundle is damaged"


class RunError(CochlearError):
    """The computation failed although the input was acceptable."""

    code = "run-failed"
    title = "The computation failed"


class DeviceError(RunError):
    """The asked-for device is not there, or let the computation down."""

    code = "device-unavailable"
    title = "The device cannot be used"


class DeviceMemoryError(DeviceError):
    """The device ran out of memory; what was computed on it is given up and its memory is free again."""

    code = "gpu-out-of-memory"
    title = "The memory of the device did not suffice"


class DeviceFailedError(DeviceError):
    """The device reported an error after which nothing computed on it by this process can be believed."""

    code = "device-failed"
    title = "The device failed"
