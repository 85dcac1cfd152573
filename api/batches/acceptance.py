"""From the files of a batch to its jobs: each ear is checked on its own, those that can be used are taken at once."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from api.access.caller import Caller
from api.access.job_cap import create_within_cap
from api.batches.archive import unpack
from api.batches.manifest import MANIFEST, Ear, ears_of_archive, ears_of_parts, missing
from api.context import Context
from api.problems import ProblemItem, ServiceError
from api.submission import Submission, announce, check_room, check_upload, keep_images, new_record
from api.uploads import Form, Upload
from model.errors import CochlearError, InputError
from worker.batches import BatchRecord
from worker.jobs import JobFailure, JobRecord
from worker.settings import Settings

_log = logging.getLogger(__name__)

_SHOWN = 20


@dataclass(frozen=True)
class CheckedEar:
    """An ear that was found usable."""

    place: int
    image: Path
    submission: Submission


async def check_batch(
    form: Form, folder: Path, context: Context, turns: anyio.CapacityLimiter
) -> tuple[list[CheckedEar], dict[int, JobFailure]]:
    """Check all ears of a form, one after the other.

    Args:
        form: what came.
        folder: where an archive is unpacked.
        context: the parts of the service.
        turns: taken anew for each ear, so that single jobs need not wait for a whole batch.

    Returns:
        The usable ears, and by place why the others cannot be used.

    Raises:
        InputError: when archive or manifest cannot be used, or no ear can.
        ServiceError: when the batch is too large.
    """
    common = {name: text for name, text in form.fields.items() if name != MANIFEST}
    ears = await anyio.to_thread.run_sync(_ears, form, folder, context.settings, limiter=turns)
    usable, refused = [], {}
    for place, ear in enumerate(ears):
        try:
            image, submission = await anyio.to_thread.run_sync(_check, ear, common, context, limiter=turns)
            usable.append(CheckedEar(place, image, submission))
        except CochlearError as error:
            refused[place] = JobFailure.from_error(error)
    if not usable:
        raise _none_usable(refused)
    return usable, refused


def _check(ear: Ear, common: dict[str, str], context: Context) -> tuple[Path, Submission]:
    """Check one ear; reads its image."""
    if ear.image is None:
        raise InputError("the image is missing", expected="a member of this name", found="none", field="image")
    return ear.image, check_upload(Upload(ear.image, ear.fields(common)), context.settings, context.models)


def accept_batch(
    context: Context,
    ears: Sequence[CheckedEar],
    refused: dict[int, JobFailure],
    caller: Caller,
    request_id: str | None = None,
) -> BatchRecord:
    """Keep the images, make batch and jobs, announce the jobs; all of it or nothing.

    Args:
        context: the parts of the service.
        ears: the usable ears; their files are moved.
        refused: why the others are not.
        caller: who sends them.
        request_id: name of the request.

    Raises:
        ServiceError: when too many jobs wait.
        RedisError: when Redis is away.
    """
    check_room(context, len(ears))
    batch = BatchRecord(
        id=str(uuid.uuid4()),
        created_at=context.store.now(),
        owner=caller.key_id,
        total=len(ears) + len(refused),
        refused=refused,
    )
    records: list[JobRecord] = []
    for ear in ears:
        record = new_record(context, ear.submission, ear.image, caller, request_id)
        records.append(record.model_copy(update={"batch": batch.id, "batch_index": ear.place}))
    keep_images(context, [(record, ear.image) for record, ear in zip(records, ears, strict=True)])
    placed = create_within_cap(context, records, lambda cap: context.batches.create(batch, records, max_active=cap))
    announce(context, records)
    return placed


def folder_for(settings: Settings) -> tempfile.TemporaryDirectory[str]:
    """Give a folder for the files of one batch, erased after use."""
    settings.uploads_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return tempfile.TemporaryDirectory(dir=settings.uploads_dir, ignore_cleanup_errors=True)


def _ears(form: Form, folder: Path, settings: Settings) -> list[Ear]:
    """Give the ears of a form with what the manifest says of them."""
    images, archives = form.files["image"], form.files["archive"]
    error = missing(images, archives)
    if error is not None:
        raise error
    manifest = form.fields.get(MANIFEST)
    if images:
        return ears_of_parts(images, manifest)
    members = unpack(archives[0], folder, settings.max_batch_items, settings.max_upload_bytes, settings.max_batch_bytes)
    return ears_of_archive(members, manifest)


def _none_usable(refused: dict[int, JobFailure]) -> ServiceError:
    """Give the error for a batch of which no ear can be used; it names the reasons of the first ones."""
    items = [
        ProblemItem(
            field=f"[{place}].{failure.field or 'image'}",
            expected=failure.expected,
            found=failure.found or failure.detail,
            hint=failure.hint,
        )
        for place, failure in list(refused.items())[:_SHOWN]
    ]
    return ServiceError("no-usable-item", "No ear can be used", f"none of {len(refused)} ears can be used", items=items)
