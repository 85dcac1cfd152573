"""Finding the file system of an artifact store, set up so that several machines see the same."""

from __future__ import annotations

import os
import secrets
from typing import Any

import fsspec

from model.errors import CochlearError

_S3 = ("s3", "s3a")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
BLOCK_BYTES = 5 * 2**20
"""How much of an object is fetched at once when it is read piece by piece."""


class StoreError(CochlearError):
    """The artifact store cannot be used as one."""

    code = "artifact-store"
    title = "The artifact store cannot be used"


def find_file_system(url: str) -> tuple[Any, str]:
    """Give the file system and the root of an address; no connection is made yet.

    S3 takes endpoint, region and credentials from the standard variables of AWS (`AWS_ENDPOINT_URL`, `AWS_REGION`,
    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_CA_BUNDLE` and so on). Where an endpoint is named the bucket goes
    into the path, as names such as `bucket.minio` exist in no DNS. Listings are never kept: another machine may have
    changed them.

    Args:
        url: a local path or any address that fsspec knows.

    Raises:
        StoreError: when the package that speaks its protocol is not installed, or the address is malformed.
    """
    protocol = url.partition("://")[0] if "://" in url else "file"
    options: dict[str, Any] = {}
    if protocol in _S3:
        named = any(os.environ.get(name) for name in _ENDPOINTS)
        options = {
            "use_listings_cache": False,
            "default_block_size": BLOCK_BYTES,
            "config_kwargs": {
                "connect_timeout": 5,
                "read_timeout": 30,
                "s3": {"addressing_style": "path" if named else "auto"},
            },
        }
    try:
        file_system, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise StoreError(
            "the address of the artifact store cannot be used",
            expected="a local path, or an address whose protocol is installed",
            found=f"the protocol {protocol[:20]!a}",
            hint="for s3:// install cochlear[s3]",
        ) from error
    return file_system, str(root)


def check_creates_once(file_system: Any, root: str) -> None:  # noqa: ANN401
    """Make sure that a store refuses to create a file that is there: publishing once rests on it.

    S3 does so by `If-None-Match: *` on PUT, since 2024; servers that speak its protocol may ignore it.

    Raises:
        StoreError: when the second of two writers would win.
        OSError: when the store cannot be written.
    """
    path = f"{root.rstrip('/')}/.probe-{secrets.token_hex(8)}"
    file_system.pipe_file(path, b"1")
    try:
        file_system.pipe_file(path, b"2", mode="create")
    except OSError:
        # Refused, whatever the words; a store that is away now fails to give the file, too.
        if file_system.cat_file(path) == b"1":
            return
    finally:
        file_system.rm_file(path)
    raise StoreError(
        "the artifact store lets a second writer replace what the first wrote",
        expected="a store that honours If-None-Match on PUT",
        found="one that ignores it",
        hint="update the storage server, or use another",
    )
