"""Writing NIfTI files that lie exactly where the patient's image lies."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from model.volumes.volume import Volume

_SCANNER = 1
_MILLIMETRE = 2
_COMPRESSION = 4


def write_nifti(
    path: Path,
    data: npt.NDArray[Any],
    affine: npt.ArrayLike,
    *,
    like: Volume | None = None,
    intent: int = 0,
    intent_name: str = "",
    description: str = "",
) -> None:
    """Write an array as NIfTI-1, compressed when the name ends in `.gz`; equal input gives equal bytes.

    The affine goes into the sform, and into the qform too unless it is sheared (a qform cannot hold shear).

    Args:
        path: file to write.
        data: 3-D image, or 5-D (I, J, K, 1, C) vectors; stored in its own dtype, unscaled.
        affine: (4, 4) ijk -> RAS mm.
        like: image whose coordinate code (scanner, aligned, ...) is kept; scanner otherwise.
        intent: NIfTI intent code, 1002 for labels, 1006 for displacement vectors, 1007 for vectors.
        intent_name: up to 15 characters.
        description: up to 79 characters.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    code = _coordinate_code(like)
    image = nibabel.Nifti1Image(data, matrix, dtype=data.dtype)
    header = image.header
    image.set_sform(matrix, code=code)
    directions = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    right_angles = np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)
    image.set_qform(matrix, code=code if right_angles else 0)
    header["xyzt_units"] = _MILLIMETRE
    header["intent_code"] = intent
    header["intent_name"] = intent_name.encode("ascii")
    header["descrip"] = description.encode("ascii")
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        buffer = io.BytesIO()
        # No name and no time in the gzip header: the same result is the same file.
        with gzip.GzipFile("", "wb", _COMPRESSION, buffer, mtime=0) as stream:
            stream.write(content)
        content = buffer.getvalue()
    path.write_bytes(content)


def _coordinate_code(like: Volume | None) -> int:
    """Give the NIfTI code of the space that an image's affine leads to."""
    if like is None:
        return _SCANNER
    return int(like.header["sform_code"]) or int(like.header["qform_code"]) or _SCANNER
