"""A client of the service: submit an ear, wait, download the results."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from api.retrying import send_patiently
from model.errors import InputError, RunError

Job = dict[str, Any]
"""A job as the service gives it; see the schema `Job`."""

Batch = dict[str, Any]
"""A batch as the service gives it; see the schema `Batch`."""

_LONGEST_WAIT_S = 30.0
"""For one answer that is held back; proxies commonly give up after a minute."""

FINAL_STATES = frozenset({"succeeded", "failed", "canceled", "expired"})


class RejectedError(InputError):
    """The service refused the request; `problem` is its problem document.

    Attributes:
        problem: the RFC 9457 document.
    """

    code = "rejected"
    title = "The service refused the request"

    def __init__(self, problem: Mapping[str, Any]) -> None:
        """Take the terms over from the problem document."""
        item = (problem.get("errors") or [{}])[0]
        super().__init__(
            str(problem.get("detail") or problem.get("title") or "refused"),
            expected=item.get("expected"),
            found=item.get("found"),
            hint=item.get("hint"),
            field=item.get("field"),
        )
        self.problem = dict(problem)


class JobFailedError(RunError):
    """The job ended without a result."""

    code = "job-failed"
    title = "The job did not succeed"


class UnreachableError(RunError):
    """The service cannot be reached, or answers with an error of its own."""

    code = "service-unreachable"
    title = "The service cannot be used"


class CochlearClient:
    """The service at one address; a context manager.

    Args:
        url: address of the service, such as `http://127.0.0.1:8000`.
        timeout_s: seconds a single request may take; an upload is checked before it is answered.
        api_key: sent as `Authorization: Bearer`; None where the service asks for none.
        patience_s: seconds to try again for while the service answers 429 or 503 and says when to (`Retry-After`).
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        timeout_s: float = 120.0,
        api_key: str | None = None,
        patience_s: float = 120.0,
    ) -> None:
        """Prepare the connection; nothing is sent yet."""
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, timeout=timeout_s, headers=headers)
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        """Give the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        image: Path,
        *,
        landmarks: Path | None = None,
        side: str | None = None,
        bundle: str | None = None,
        formats: Sequence[str] | None = None,
    ) -> Job:
        """Submit an ear.

        Args:
            image: NIfTI file.
            landmarks: JSON file of its landmarks, needed for a raw CT.
            side: `left` or `right`.
            bundle: name of a model bundle; None for the service's default.
            formats: mesh formats to put into the results.

        Returns:
            The queued job.

        Raises:
            InputError: a file cannot be read, or the service refuses the input (`RejectedError`).
            UnreachableError: the service cannot be used.
        """
        fields = {"side": side, "bundle": bundle, "formats": None if formats is None else ",".join(formats)}
        data = {name: value for name, value in fields.items() if value is not None}
        if landmarks is not None:
            data["landmarks"] = _read(landmarks, "landmarks").decode("utf-8", "replace")
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(image.open("rb"))
            except OSError as error:
                raise InputError("the image cannot be read", found=_reason(error), field="image") from error
            # A neutral name: file names of patients are no business of the service.
            files = {"image": ("image.nii.gz", stream, "application/octet-stream")}
            return self._job(self._request("POST", "/v1/jobs", lambda: stream.seek(0), data=data, files=files))

    def submit_batch(self, images: Sequence[Path], entries: Sequence[Mapping[str, Any]], **fields: str) -> Batch:
        """Submit several ears in one request.

        Args:
            images: NIfTI files.
            entries: what belongs to each ear, as the manifest of a batch has it, such as `landmarks`.
            **fields: fields that concern all ears, such as `bundle`.

        Returns:
            The batch; ears that were refused have their problem in it.

        Raises:
            InputError: a file cannot be read, or the service can use none of the ears (`RejectedError`).
            UnreachableError: the service cannot be used.
        """
        with ExitStack() as stack:
            try:
                streams = [stack.enter_context(image.open("rb")) for image in images]
            except OSError as error:
                raise InputError("an image cannot be read", found=_reason(error), field="image") from error
            files = [("image", ("image.nii.gz", stream, "application/octet-stream")) for stream in streams]
            data = {**fields, "manifest": json.dumps(list(entries))}
            return self._job(self._request("POST", "/v1/batches", data=data, files=files))

    def batch(self, batch_id: str) -> Batch:
        """Give a batch.

        Raises:
            RejectedError: there is none of that id.
            UnreachableError: the service cannot be used.
        """
        return self._job(self._request("GET", f"/v1/batches/{batch_id}"))

    def batch_csv(self, batch_id: str) -> str:
        """Give the measurements of a batch as CSV: a row for each ear and structure.

        Raises:
            RejectedError: there is none of that id.
            UnreachableError: the service cannot be used.
        """
        return self._request("GET", f"/v1/batches/{batch_id}/measurements.csv").text

    def job(self, job_id: str, *, wait_s: float = 0.0) -> Job:
        """Give a job.

        Args:
            job_id: the job.
            wait_s: seconds for which the service may hold the answer back until the job has ended; 30 at most are used.

        Raises:
            RejectedError: there is none of that id.
            UnreachableError: the service cannot be used.
        """
        query = f"?wait={math.ceil(min(wait_s, _LONGEST_WAIT_S))}" if wait_s > 0 else ""
        return self._job(self._request("GET", f"/v1/jobs/{job_id}{query}"))

    def wait(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] | None = None,
        *,
        timeout_s: float | None = None,
        poll_s: float = 0.5,
    ) -> Job:
        """Wait until a job has ended.

        Args:
            job_id: the job.
            on_progress: called with the job after every look at it; without it the service is asked to answer at the
                end, which takes fewer requests.
            timeout_s: when to give up waiting; None for never.
            poll_s: seconds between two looks.

        Returns:
            The job that succeeded.

        Raises:
            JobFailedError: it failed, was canceled or has expired.
            UnreachableError: the service cannot be used, or the time is over.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()
            job = self.job(job_id, wait_s=left_s if on_progress is None else 0.0)
            if on_progress is not None:
                on_progress(job)
            if job["state"] in FINAL_STATES:
                break
            if deadline is not None and time.monotonic() >= deadline:
                raise UnreachableError("the job did not end in time", expected="an end", found=str(job["state"]))
            time.sleep(poll_s)
        if job["state"] != "succeeded":
            problem = job.get("problem") or {}
            raise JobFailedError(
                str(problem.get("detail", "the job was ended")), found=f"state {job['state']} of job {job_id}"
            )
        return job

    def download(self, job: Job, out: Path, on_file: Callable[[str], None] | None = None) -> list[Path]:
        """Download all results of a job that succeeded, verifying their digests.

        Args:
            job: the job, as `wait` gave it.
            out: folder to write into.
            on_file: called with the name of each file that is complete.

        Returns:
            The files, complete ones only: each is written under another name first.

        Raises:
            UnreachableError: the service cannot be used, or a file came damaged.
        """
        return [self._fetch(name, address, out, on_file) for name, address in job["links"]["results"].items()]

    def delete(self, job_id: str) -> None:
        """Cancel a job that is not finished; erase one that is.

        Raises:
            RejectedError: there is none of that id.
            UnreachableError: the service cannot be used.
        """
        self._request("DELETE", f"/v1/jobs/{job_id}")

    def _fetch(self, name: str, address: str, out: Path, on_file: Callable[[str], None] | None) -> Path:
        """Download one file."""
        target = out / name
        if not target.resolve().is_relative_to(out.resolve()):
            raise UnreachableError("the service names a result outside the folder", found=ascii(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        digest = hashlib.sha256()
        request = self._http.build_request("GET", address)
        try:
            answer = send_patiently(lambda: self._http.send(request, stream=True), self._patience_s)
            with closing(answer) as response, part.open("wb") as file:
                if response.is_error:
                    response.read()
                    raise _error_of(response)
                for piece in response.iter_bytes():
                    digest.update(piece)
                    file.write(piece)
                tag = response.headers.get("etag", "").strip('"')
            if tag != digest.hexdigest():
                raise UnreachableError("a result came damaged", expected="its digest", found=f"another, for {name}")
            part.replace(target)
        except httpx.HTTPError as error:
            raise UnreachableError("the download broke off", found=type(error).__name__) from error
        finally:
            part.unlink(missing_ok=True)
        if on_file is not None:
            on_file(name)
        return target

    def _request(
        self,
        method: str,
        address: str,
        rewind: Callable[[], object] | None = None,
        **options: Any,  # noqa: ANN401  (passed on to httpx)
    ) -> httpx.Response:
        """Send a request, again while the service says so, and give its good answer."""

        def send() -> httpx.Response:
            if rewind is not None:
                rewind()
            return self._http.request(method, address, **options)

        try:
            response = send_patiently(send, self._patience_s)
        except httpx.HTTPError as error:
            raise UnreachableError(
                "the service does not answer",
                expected=f"a service at {self._http.base_url}",
                found=type(error).__name__,
                hint="start it with `cochlear serve`, or give --url",
            ) from error
        if response.is_error:
            raise _error_of(response)
        return response

    @staticmethod
    def _job(response: httpx.Response) -> Job:
        """Give the job of an answer."""
        job = response.json()
        if not isinstance(job, dict):
            raise UnreachableError("the answer is no job", expected="a JSON object", found=type(job).__name__)
        return job


def _error_of(response: httpx.Response) -> RejectedError | UnreachableError:
    """Give the error that an answer stands for."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if response.is_client_error and isinstance(problem, dict):
        return RejectedError(problem)
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return UnreachableError(
        str(detail or "the service answers with an error"), expected="an answer", found=f"HTTP {response.status_code}"
    )


def _read(path: Path, field: str) -> bytes:
    """Read a small file of the user."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the {field} file cannot be read", found=_reason(error), field=field) from error


def _reason(error: OSError) -> str:
    """Name the kind of an OS error without the path it carries."""
    return (error.strerror or type(error).__name__).lower()
