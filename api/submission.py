"""From an upload to an accepted job: everything that can be refused is refused before anything is kept."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kombu.exceptions import OperationalError

from api.access.caller import Caller
from api.access.job_cap import create_within_cap
from api.context import Context
from api.isolation import Bounds, run_isolated
from api.models import Models
from api.problems import ServiceError
from api.webhooks.request import Subscription, read_subscription
from model.bundle import check_takes_images
from model.errors import OptionError
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Landmarks, Side
from model.meshes.formats import MESH_FORMATS
from model.outputs.write import DEFAULT_FORMATS
from model.request import check_request
from model.volumes.intensity import IntensityRule
from model.volumes.volume import ImageLimits
from worker.idempotency import Claim
from worker.jobs import JobRecord
from worker.log_context import TRACEPARENT
from worker.routes import queue_for
from worker.settings import Settings

_log = logging.getLogger(__name__)

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


def check_upload(image: Path, fields: Mapping[str, str], settings: Settings, models: Models) -> Submission:
    """Check fields, bundle and image of an upload; reads the whole image.

    Args:
        image: the received file.
        fields: the other fields, by name.
        settings: limits.
        models: the models on offer.

    Raises:
        InputError: when any of it cannot be used.
    """
    side = _side(fields.get("side"))
    formats = _formats(fields.get("formats"))
    landmarks = Landmarks.parse(fields["landmarks"]) if "landmarks" in fields else None
    model = models.choose(fields.get("bundle")).bundle
    subscription = read_subscription(fields, settings)
    expires_in_s = _expires_in(fields.get("expires_in"))
    limits = ImageLimits(max_file_bytes=settings.max_upload_bytes)
    check_takes_images(model.manifest)
    bounds = Bounds(settings.check_memory_bytes, settings.check_time_limit_s)
    points = None if landmarks is None else landmarks.to_json()
    settled, warnings = run_isolated(
        bounds, _check_image, image, points, side, model.frame.to_json(), limits, model.intensity
    )
    return Submission(model.name, model.digest, settled, side, landmarks, formats, warnings, subscription, expires_in_s)


def accept(
    context: Context,
    submission: Submission,
    image: Path,
    caller: Caller,
    request_id: str | None = None,
    claim: Claim | None = None,
) -> JobRecord:
    """Keep the image, make the record, announce the job.

    The job is accepted once its record is stored: a message that cannot be sent then is sent later by a worker. When
    the record cannot be stored, or nobody knows whether it was, the image stays: a record must never be without its
    image, and an image without a record is swept up.

    Args:
        context: the parts of the service.
        submission: the checked request.
        image: the received file; it is moved.
        caller: who sends it.
        request_id: name of the request.
        claim: of the idempotency key of the request, or None.

    Raises:
        ServiceError: when too many jobs wait, the caller has too many, or the claim was lost.
        RedisError: when Redis is away.
        OSError: when the image cannot be stored.
    """
    check_room(context, 1)
    record = new_record(context, submission, image, caller, request_id)
    record = record.model_copy(update={"idempotency": None if claim is None else claim.name})
    keep_images(context, [(record, image)])
    placed = create_within_cap(context, [record], lambda cap: context.store.create(record, cap, claim))
    announce(context, [placed])
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
        queue=queue_for(submission.bundle, context.settings.gpu_bundles),
        request_id=request_id,
        traceparent=TRACEPARENT.get(),
        input_bytes=image.stat().st_size,
        expires_in_s=submission.expires_in_s,
        webhook=submission.subscription.url,
        webhook_events=submission.subscription.events,
    )


def keep_images(context: Context, images: Sequence[tuple[JobRecord, Path]]) -> None:
    """Move received files to where the worker finds them; all or none.

    Raises:
        OSError: when one cannot be stored.
    """
    kept: list[str] = []
    try:
        for record, image in images:
            kept.append(record.id)
            context.artifacts.put_input(record.id, record.input_name, image)
    except BaseException:
        for job_id in kept:
            context.artifacts.erase(job_id)
        raise


def announce(context: Context, records: Sequence[JobRecord]) -> None:
    """Tell the workers of jobs that were stored; a job they cannot be told of now is found by them later."""
    try:
        for record in records:
            context.queue.send(record.id, record.queue)
    except (OperationalError, OSError):
        _log.warning("jobs were accepted, but not all could be announced yet")


def _check_image(
    image: Path,
    points: dict[str, Any] | None,
    side: Side | None,
    frame: Mapping[str, Any],
    limits: ImageLimits,
    intensity: IntensityRule,
) -> tuple[Side, tuple[str, ...]]:
    """Read and check all of an image; give its laterality and what is to be remarked (in a process of its own)."""
    checked = check_request(
        image,
        landmarks=None if points is None else Landmarks.parse(points),
        side=side,
        frame=CanonicalFrame.from_json(frame),
        limits=limits,
        intensity=intensity,
    )
    return checked.side, checked.warnings


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
