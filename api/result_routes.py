"""Routes of the result files under a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.access.caller import Caller, Reader
from api.context import Context, ContextOf
from api.job_routes import JobId, find_job, matches, no_such_job
from api.problems import ServiceError
from api.schemas import problem_responses
from model.meshes.formats import MESH_FORMATS
from model.outputs.displacement import DISPLACEMENT_NAME
from model.outputs.store import MeshStore, OutputSpace, default_space
from model.structures import STRUCTURE_IDS
from worker.jobs import JobRecord, JobState

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

_MEDIA_TYPES = {
    ".vtk": "application/x-vtk",
    ".vtp": "application/x-vtk-xml",
    ".stl": "model/stl",
    ".ply": "application/x-ply",
    ".obj": "model/obj",
    ".glb": "model/gltf-binary",
    ".mesh": "application/octet-stream",
    ".gz": "application/gzip",
    ".nrrd": "application/x-nrrd",
    ".json": "application/json",
    ".png": "image/png",
    ".zip": "application/zip",
    ".npz": "application/zip",
}
_FILES = {
    "masks/labels.nii.gz": "Label map of all structures on the grid of the image.",
    "masks/segmentation.seg.nrrd": "Segmentation for 3D Slicer.",
    DISPLACEMENT_NAME: "Displacement field as a NIfTI vector image in ITK's convention; not there when the model is a "
    "segmentation network.",
    "manifest.json": "Name, size and SHA-256 of every result.",
    "report.json": "Report: provenance, alignment, volumes, timings, warnings, checks.",
    "preview.png": "Picture of the result.",
    "archive.zip": "All results in one file.",
}
_PROBLEMS = problem_responses(404, 409, 410, 422, 503)


def _binary(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI entries of a route that answers with a file."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The file.", "content": content}, 304: {"description": "Unchanged."}, **_PROBLEMS}


def _finished_job(context: Context, caller: Caller, job_id: str) -> JobRecord:
    """Give a job whose results are there.

    Raises:
        ServiceError: when there is no such job, or it has no results (yet, or any more).
    """
    record = find_job(context, caller, job_id)
    if record.state is JobState.EXPIRED:
        raise _expired()
    if record.state is not JobState.SUCCEEDED:
        raise ServiceError(
            "result-not-ready",
            "There is no result yet" if not record.state.finished else "There is no result",
            "results exist once the job has succeeded",
            expected="a job that has succeeded",
            found=f"a job that is {record.state.value}",
            retry_after_s=None if record.state.finished else 1,
        )
    return record


def _stored(request: Request, context: Context, record: JobRecord, name: str) -> Response:
    """Give a published file."""
    info = record.files.get(name)
    if info is None:
        expected = "a file that the job links to"
        if name == DISPLACEMENT_NAME:
            raise _no_such_result(expected, "a segmentation network gives no displacement field")
        raise _no_such_result(expected)
    headers = _headers(record.id, name, info.sha256)
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(info.size)
    with _still_there(context, record.id):
        pieces = context.artifacts.open_result(record.id, name)
    return StreamingResponse(pieces, headers=headers, media_type=_media_type(name))


@contextmanager
def _still_there(context: Context, job_id: str) -> Iterator[None]:
    """Answer in due form when a job expires or is erased between the look at its record and the reading of a file.

    Raises:
        ServiceError: the job is gone or has expired.
    """
    try:
        yield
    except FileNotFoundError:
        record = context.store.get(job_id)
        if record is None:
            raise no_such_job() from None
        if record.state is JobState.EXPIRED:
            raise _expired() from None
        raise


def _headers(job_id: str, name: str, sha256: str) -> dict[str, str]:
    """Give the headers of a result: it never changes, and belongs to one patient."""
    filename = f"{job_id[:8]}-{PurePosixPath(name).name}"
    return {
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }


def _media_type(name: str) -> str:
    """Give the media type of a result by its suffix."""
    return _MEDIA_TYPES[PurePosixPath(name).suffix]


def _expired() -> ServiceError:
    """Give the error for a job whose files were erased after their time."""
    return ServiceError("job-expired", "The job has expired", "the results were erased after their time")


def _no_such_result(expected: str, detail: str = "the job has no such file") -> ServiceError:
    """Give the error for a name under a job that is no result."""
    return ServiceError("no-such-result", "There is no such result", detail, expected=expected)


def _add_file_route(name: str, summary: str) -> None:
    """Add the route of a file of a fixed name."""

    def file(request: Request, context: ContextOf, caller: Reader, job_id: JobId) -> Response:
        """Give the file."""
        return _stored(request, context, _finished_job(context, caller, job_id), name)

    router.add_api_route(
        f"/{name}",
        file,
        methods=["GET"],
        name=PurePosixPath(name).name,
        operation_id="get_" + "".join(char if char.isalnum() else "_" for char in name),
        response_class=Response,
        responses=_binary(_media_type(name)),
        summary=summary,
    )


# Before the route of any mask, whose pattern takes in the label map's name.
for _name, _summary in _FILES.items():
    _add_file_route(_name, _summary)


@router.get(
    "/meshes/{structure}.{form}",
    response_class=Response,
    responses=_binary("application/octet-stream"),
    summary="A mesh in any format and space",
)
def mesh(
    request: Request,
    context: ContextOf,
    caller: Reader,
    job_id: JobId,
    structure: str,
    form: str,
    space: Annotated[
        OutputSpace | None,
        Query(
            description="Patient millimetres as DICOM (lps, the default) or NIfTI (ras), or voxels of the image "
            "(the default and the only space of .mesh)."
        ),
    ] = None,
) -> Response:
    """Give the surface of one structure, in the format that the suffix names."""
    record = _finished_job(context, caller, job_id)
    name = f"meshes/{structure}.{form}"
    if structure not in STRUCTURE_IDS or form not in MESH_FORMATS:
        raise _no_such_result(f"meshes/{{{','.join(STRUCTURE_IDS)}}}.{{{','.join(MESH_FORMATS)}}}")
    if space in (None, default_space(form)) and name in record.files:
        return _stored(request, context, record, name)
    with _still_there(context, job_id), context.artifacts.local_file(job_id, "results/meshes.npz") as stored:
        store = MeshStore.read(stored)
    if structure not in store.meshes_ras:
        expected = f"one of {', '.join(store.meshes_ras) or 'no structures'}"
        raise _no_such_result(expected, "the structure was not found in the image, so it has no surface")
    content = store.render(structure, form, space)
    headers = _headers(job_id, name, hashlib.sha256(content).hexdigest())
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_media_type(name))


@router.get(
    "/masks/{structure}.nii.gz",
    response_class=Response,
    responses=_binary("application/gzip"),
    summary="The mask of a structure on the grid of the image",
)
def mask(request: Request, context: ContextOf, caller: Reader, job_id: JobId, structure: str) -> Response:
    """Give the mask of a structure, or with `labels` the label map of all."""
    return _stored(request, context, _finished_job(context, caller, job_id), f"masks/{structure}.nii.gz")
