"""From a job record to a folder of results: the science, called with the record's terms."""

from __future__ import annotations

from pathlib import Path

from model.geometry.landmarks import Landmarks
from model.outputs.write import write_results
from model.request import check_request
from model.volumes.volume import ImageLimits
from worker.artifacts import ArtifactStore
from worker.attempt import Attempt
from worker.engine import Engine
from worker.jobs import JobRecord
from worker.settings import Settings


def compute_results(
    record: JobRecord, attempt: Attempt, artifacts: ArtifactStore, engine: Engine, settings: Settings, folder: Path
) -> None:
    """Segment the image of a job into a new folder.

    Args:
        record: the job.
        attempt: takes the progress, and stops the work when the job was canceled.
        artifacts: holds the image.
        engine: holds the loaded models.
        settings: limits.
        folder: where the results go; it is made.

    Raises:
        CochlearError: when the image or bundle cannot be used or the run failed.
        StopWorkError: when the attempt must stop.
    """
    attempt.report("load", 0.0)
    segmenter = engine.segmenter(record.bundle, record.bundle_digest)
    attempt.report("check", 0.0)
    landmarks = None if record.landmarks is None else Landmarks.parse(record.landmarks)
    with artifacts.local_file(record.id, record.input_name) as image:
        request = check_request(
            image,
            landmarks=landmarks,
            side=record.stated_side,
            frame=segmenter.bundle.frame,
            intensity=segmenter.bundle.intensity,
            limits=ImageLimits(max_file_bytes=settings.max_upload_bytes),
        )
    segmentation = segmenter.run(request, attempt.report)
    write_results(segmentation, folder, mesh_formats=record.formats, progress=attempt.report)
