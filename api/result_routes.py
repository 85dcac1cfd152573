"""Routes of the result files under a job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.access.caller import Caller, Reader
from api.context import Context, ContextOf
from api.job_routes import JobId, find_job, matches, no_such_job
from api.problems import ServiceError
from api.ranges import repr_digest, requested_range
from api.schemas import problem_responses
from model.meshes.formats import MESH_FORMATS
from model.outputs.displacement import DISPLACEMENT_NAME
from model.outputs.report import ResultReport
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
_PROBLEMS = problem_responses(404, 409, 410, 416, 422, 503)


_MANIFEST_ENTRY = {
    "type": "object",
    "required": ["name", "bytes", "sha256"],
    "properties": {
        "name": {"type": "string"},
        "bytes": {"type": "integer", "minimum": 0},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
}
_MANIFEST = {
    "type": "object",
    "required": ["schema_version", "files"],
    "properties": {"schema_version": {"type": "string"}, "files": {"type": "array", "items": _MANIFEST_ENTRY}},
}


def _answers(*media_types: str, whole: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI entries of a route that answers with a file of one of these types.

    Args:
        *media_types: the types.
        whole: entry of the answer with the whole file, where more can be said of it than that it is one.
    """
    binary = {"content": {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types}}
    # What is in a part of a file follows no schema.
    part: dict[str, Any] = {"content": {name: {} for name in media_types}}
    return {
        200: {"description": "The file.", **(whole or binary)},
        206: {"description": "The part of the file that `Range` names.", **part},
        304: {"description": "Unchanged."},
        **_PROBLEMS,
    }


_WHOLE: Mapping[str, dict[str, Any]] = {
    "report.json": {"model": ResultReport},
    "manifest.json": {"content": {"application/json": {"schema": _MANIFEST}}},
}
StructureId = Annotated[str, Path(description="Id of the structure.", json_schema_extra={"enum": list(STRUCTURE_IDS)})]
MaskId = Annotated[
    str,
    Path(description="Id of the structure, or `labels`.", json_schema_extra={"enum": [*STRUCTURE_IDS, "labels"]}),
]
MeshFormat = Annotated[str, Path(description="Format of the file.", json_schema_extra={"enum": list(MESH_FORMATS)})]


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

    def read(begin: int, end: int) -> Iterator[bytes]:
        with _still_there(context, record.id):
            return context.artifacts.open_result(record.id, name, begin, end)

    return _answer(request, _headers(record.id, name, info.sha256), _media_type(name), info.size, read)


def _answer(
    request: Request,
    headers: dict[str, str],
    media_type: str,
    size: int,
    read: Callable[[int, int], Iterable[bytes]],
) -> Response:
    """Answer with a file, the part of it that is wanted, or that it is unchanged.

    Args:
        request: the request; preconditions go before ranges (RFC 9110, section 13.2.2).
        headers: those of the file.
        media_type: its type.
        size: its bytes.
        read: gives the bytes from one place up to, not including, another.
    """
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    part = requested_range(request, size, headers["ETag"])
    begin, end = part or (0, size)
    if part is not None:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - begin)
    return StreamingResponse(read(begin, end), 200 if part is None else 206, headers, media_type)


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
        "Repr-Digest": repr_digest(sha256),
        "Accept-Ranges": "bytes",
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
        responses=_answers(_media_type(name), whole=_WHOLE.get(name)),
        summary=summary,
    )


# Before the route of any mask, whose pattern takes in the label map's name.
for _name, _summary in _FILES.items():
    _add_file_route(_name, _summary)


@router.get(
    "/meshes/{structure}.{form}",
    response_class=Response,
    responses=_answers(*(_media_type(f"x.{form}") for form in MESH_FORMATS)),
    summary="A mesh in any format and space",
)
def mesh(
    request: Request,
    context: ContextOf,
    caller: Reader,
    job_id: JobId,
    structure: StructureId,
    form: MeshFormat,
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
    return _answer(request, headers, _media_type(name), len(content), lambda begin, end: (content[begin:end],))


@router.get(
    "/masks/{structure}.nii.gz",
    response_class=Response,
    responses=_answers("application/gzip"),
    summary="The mask of a structure on the grid of the image",
)
def mask(request: Request, context: ContextOf, caller: Reader, job_id: JobId, structure: MaskId) -> Response:
    """Give the mask of a structure, or with `labels` the label map of all."""
    return _stored(request, context, _finished_job(context, caller, job_id), f"masks/{structure}.nii.gz")
