"""Saying in errors what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model.errors import CochlearError, InputError


@contextmanager
def about(name: str) -> Iterator[None]:
    """Put a name before the errors of the block, such as the method and the case that is read.

    Raises:
        CochlearError: of the same kind as the one that arose; a ValueError becomes an InputError.
    """
    try:
        yield
    except CochlearError as error:
        raise type(error)(
            f"{name}: {error.detail}", expected=error.expected, found=error.found, hint=error.hint
        ) from error
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
