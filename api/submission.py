"""From an upload to an accepted job: everything that can be refused is refused before anything is kept."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from api.access.caller import Caller
from api.context import Context
from api.problems import ServiceError
from api.uploads import Upload
from api.webhooks.request import Subscription, read_subscription
from model.bundle import Bundle, check_takes_images, default_checkpoints, find_bundle, load_bundle
from model.bundle.schema import BUNDLE_NAME
from model.errors import OptionError, UnknownBundleError
from model.geometry.landmarks import Landmarks, Side
from model.meshes.formats import MESH_FORMATS
from model.outputs.write import DEFAULT_FORMATS
from model.request import check_request
from model.volumes.volume import ImageLimits
from worker.jobs import JobRecord
from worker.settings import Settings

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Submission:
    """A request that was found usable.

    Attributes:
        bundle: name of the bundle.
        bundle_digest: SHA-256 of its manifest, which holds those of all other files.
        side: the settled laterality.
        stated_side: the laterality as sent, or None.
        landmarks: the landmarks, or None.
        formats: mesh formats to write.
        warnings: remarks of the checks.
        subscription: who is to be told of the job.
        expires_in_s: seconds after its end for which the results are wanted, or None.
    """

    bundle: str
    bundle_digest: str
    side: Side
    stated_side: Side | None
    landmarks: Landmarks | None
    formats: tuple[str, ...]
    warnings: tuple[str, ...]
    subscription: Subscription
    expires_in_s: float | None


def check_upload(upload: Upload, settings: Settings) -> Submission:
    """Check fields, bundle and image of an upload; reads the whole image.

    Raises:
        InputError: when any of it cannot be used.
    """
    fields = upload.fields
    side = _side(fields.get("side"))
    formats = _formats(fields.get("formats"))
    landmarks = Landmarks.parse(fields["landmarks"]) if "landmarks" in fields else None
    bundle = fields.get("bundle", settings.bundle)
    subscription = read_subscription(fields, settings)
    expires_in_s = _expires_in(fields.get("expires_in"))
    limits = ImageLimits(max_file_bytes=settings.max_upload_bytes)
    model = named_bundle(bundle, settings.checkpoints)
    check_takes_images(model.manifest)
    checked = check_request(
        upload.image, landmarks=landmarks, side=side, frame=model.frame, limits=limits, intensity=model.intensity
    )
    return Submission(
        bundle, model.digest, checked.side, side, landmarks, formats, checked.warnings, subscription, expires_in_s
    )


def accept(
    context: Context, submission: Submission, image: Path, caller: Caller, request_id: str | None = None
) -> JobRecord:
    """Keep the image, make the record, announce the job; all of it or nothing.

    Args:
        context: the parts of the service.
        submission: the checked request.
        image: the received file; it is moved.
        caller: who sends it.
        request_id: name of the request.

    Raises:
        ServiceError: when too many jobs wait.
        RedisError, OperationalError: when Redis is away.
    """
    check_room(context, 1)
    record = new_record(context, submission, image, caller, request_id)
    try:
        keep_image(context, record, image)
        placed = context.store.create(record)
        context.queue.send(record.id)
    except BaseException:
        context.artifacts.erase(record.id)
        context.store.withdraw(record)
        raise
    return placed


def check_room(context: Context, count: int) -> None:
    """Refuse jobs when too many wait.

    Raises:
        ServiceError: when the queue does not take so many more.
    """
    waiting, cap = context.store.queue_length(), context.settings.max_queued
    if waiting + count > cap:
        raise ServiceError(
            "queue-full",
            "The queue is full",
            "too many jobs wait",
            expected=f"at most {cap} waiting jobs",
            found=f"{waiting} that wait and {count} more",
            hint="try again later",
            retry_after_s=30,
        )


def new_record(
    context: Context, submission: Submission, image: Path, caller: Caller, request_id: str | None
) -> JobRecord:
    """Give the record of a checked request, not stored yet; the arguments are those of `accept`."""
    now = context.store.now()
    with image.open("rb") as stream:
        compressed = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return JobRecord(
        id=str(uuid.uuid4()),
        created_at=now,
        updated_at=now,
        bundle=submission.bundle,
        side=submission.side,
        stated_side=submission.stated_side,
        formats=submission.formats,
        landmarks=None if submission.landmarks is None else submission.landmarks.to_json(),
        input_name="input.nii.gz" if compressed else "input.nii",
        warnings=submission.warnings,
        owner=caller.key_id,
        bundle_digest=submission.bundle_digest,
        request_id=request_id,
        expires_in_s=submission.expires_in_s,
        webhook=submission.subscription.url,
        webhook_events=submission.subscription.events,
    )


def keep_image(context: Context, record: JobRecord, image: Path) -> None:
    """Move the received file to where the worker finds it."""
    context.artifacts.put_input(record.id, record.input_name, image)


def named_bundle(name: str, checkpoints: Path | None) -> Bundle:
    """Give a bundle by its name, all of its files verified.

    Raises:
        BundleError: when there is none of that name, or it is damaged.
    """
    folder = default_checkpoints() if checkpoints is None else checkpoints
    # A path that comes over HTTP must never be looked up, nor a name that is a folder elsewhere.
    path = find_bundle(name, folder) if re.fullmatch(BUNDLE_NAME, name) else None
    if path is None or path.parent != folder:
        raise UnknownBundleError(
            "the model bundle is not known",
            expected="the name of a bundle, as GET /v1/models lists them",
            found=ascii(name[:80]),
            field="bundle",
        )
    return load_bundle(path)


def _side(text: str | None) -> Side | None:
    """Read the field `side`."""
    if text is None:
        return None
    if text not in ("left", "right"):
        raise OptionError("the side is not known", expected="left or right", found=ascii(text[:80]), field="side")
    return cast("Side", text)


def _expires_in(text: str | None) -> float | None:
    """Read the field `expires_in`: whole seconds; one longer than the service's own is as good as absent."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text.strip(), re.ASCII):
        raise OptionError(
            "the time to keep results is no number of seconds",
            expected="a whole number from 1 to 9999999999",
            found=ascii(text[:80]),
            field="expires_in",
        )
    return float(text)


def _formats(text: str | None) -> tuple[str, ...]:
    """Read the field `formats`: names separated by commas."""
    if text is None:
        return DEFAULT_FORMATS
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    unknown = [name for name in names if name not in MESH_FORMATS]
    if unknown:
        raise OptionError(
            "a mesh format is not known",
            expected="some of " + ", ".join(MESH_FORMATS) + ", separated by commas",
            found=ascii(unknown[0][:80]),
            field="formats",
        )
    return names
