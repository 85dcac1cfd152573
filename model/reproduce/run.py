"""Many activation maps, one after the other: what is done is skipped, what fails is named and holds up nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import CochlearError, DeviceError, OptionError
from model.reproduce.files import CaseState, ResultFiles
from model.reproduce.maps import affine_of_masks, find_maps
from model.reproduce.predictor import MapPredictor
from model.reproduce.stored import read_stored

Progress = Callable[[str, float], None]
"""Called with the case that is next and the fraction of the cases behind."""

_NAMES_SHOWN = 3


@dataclass
class Reproduced:
    """What became of the cases.

    Attributes:
        method: name of the method.
        done: cases that were computed.
        skipped: cases whose files were all there.
        failed: why the others have no result, by case.
    """

    method: str
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, CochlearError] = field(default_factory=dict)


def reproduce(
    maps: Path, predictor: MapPredictor, out: Path, *, force: bool = False, progress: Progress | None = None
) -> Reproduced:
    """Recompute the published masks and surfaces from activation maps.

    Started again it goes on where it stopped. A case whose map cannot be used is left out and named in the result.

    Args:
        maps: `data/activation_maps` of the release, or the method's folder in it.
        predictor: the rest of the network; see `predictor_of_bundle` and `predictor_of_release`.
        out: folder that gets `mask/<method>/<code>/<case>.nii.gz` and `mesh/<method>/<code>/<case>.mesh`.
        force: whether to compute all cases anew, in place of whatever results are there.
        progress: told how far it is.

    Raises:
        InputError: there are no maps, or `out` holds other results (and no `force`), is a file, or is being written.
        DeviceError: the device ran out of memory.
        OSError: a result cannot be written.
    """
    cases = find_maps(maps, predictor)
    files = ResultFiles(out, predictor)
    tell = progress if progress is not None else _tell_nobody
    skipped = [] if force else _cases_done(files, cases, tell)
    todo = [case for case in cases if case not in set(skipped)]
    result = Reproduced(predictor.method, skipped=skipped)
    with files.writing() as staging:
        for number, case in enumerate(todo):
            tell(case, number / len(todo))
            try:
                _compute(case, cases[case], predictor, files, staging)
            except DeviceError:
                raise
            except CochlearError as error:
                result.failed[case] = error
            else:
                result.done.append(case)
        tell(predictor.method, 1.0)
    return result


def _compute(case: str, path: Path, predictor: MapPredictor, files: ResultFiles, staging: Path) -> None:
    """Compute one case and write its files."""
    stored = read_stored(path, predictor.check_shape)
    prediction = predictor.predict(stored.values)
    files.write(case, prediction, affine_of_masks(stored.affine, predictor.spacing_mm), staging)


def _cases_done(files: ResultFiles, cases: Iterable[str], tell: Progress) -> list[str]:
    """Give the cases whose files are all there; refuse to write over results that are not those of this network."""
    states = {}
    for case in cases:
        tell(f"look at {case}", 0.0)
        states[case] = files.state(case)
    others = [case for case, state in states.items() if state is CaseState.OTHER]
    if others:
        names = ", ".join(others[:_NAMES_SHOWN]) + (", ..." if len(others) > _NAMES_SHOWN else "")
        raise OptionError(
            "the output folder holds results that another network or program made",
            expected="a new folder, or results of an earlier run with this network",
            found=f"those of {len(others)} cases ({names})",
            hint="choose another folder, or replace them with --force",
        )
    return [case for case, state in states.items() if state is CaseState.DONE]


def _tell_nobody(_case: str, _fraction: float) -> None:
    """Report nothing."""
