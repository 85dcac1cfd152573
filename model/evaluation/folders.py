"""A study as folders: `RESULTS/<method>/<case>/` against `TRUTHS/<case>/`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError, OptionError
from model.evaluation.about import about
from model.evaluation.case_files import Grid
from model.evaluation.result_folder import ResultFolder
from model.evaluation.rows import Row
from model.evaluation.scoring import score_case
from model.evaluation.truth_folder import TruthFolder

Progress = Callable[[str, float], None]
"""Called with what is being done and the part of it that is done, 0 to 1."""

ONE_GROUP = "all"
_PROBLEMS_SHOWN = 4


@dataclass(frozen=True)
class StudyCase:
    """One case with the results of every method.

    Attributes:
        name: name of its folders.
        group: the set it counts in.
        truth: what is true.
        results: by method; a method that has none is missing.
    """

    name: str
    group: str
    truth: TruthFolder
    results: Mapping[str, ResultFolder]


@dataclass(frozen=True)
class StudyFolders:
    """What was found in the folders of a study.

    Attributes:
        methods: names of the methods, in order.
        cases: cases with a truth and at least one result.
        remarks: what takes no part, and why.
    """

    methods: tuple[str, ...]
    cases: tuple[StudyCase, ...]
    remarks: tuple[str, ...]


def find_study(
    results: Path,
    truths: Path,
    *,
    methods: Sequence[str] | None = None,
    cases: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> StudyFolders:
    """Find the results and truths of a study and check, by names and headers, that they can be scored.

    Args:
        results: folder of `<method>/<case>/` as `cochlear segment --out` writes them.
        truths: folder of `<case>/`, see `TruthFolder`.
        methods: which methods, in this order; None takes all by name.
        cases: which cases; None takes all by name.
        groups: group of each case; None goes by the record of synthetic ears, and puts all others into `all`.

    Raises:
        InputError: a folder, method or case is not there, there is nothing to score, or masks do not lie on the
            truth's grid; all that is wrong with the masks is said at once.
    """
    names = _chosen(_subfolders(results, "results"), methods, "method")
    in_truths = _subfolders(truths, "truths")
    known = {name: TruthFolder(truths / name) for name in _chosen(in_truths, cases, "case")}
    by_method = {name: _results_of(results / name) for name in names}
    if not any(by_method.values()):
        raise InputError(
            "there are no results in the folder",
            expected="<method>/<case>/meshes or masks, as `cochlear segment --out <method>/<case>` writes them",
            found=f"{len(names)} folders without any",
        )
    remarks = [f"method {name}: no results" for name, found in by_method.items() if not found]
    strangers = sorted({case for found in by_method.values() for case in found} - set(in_truths))
    remarks += [f"case {case}: results but no truth" for case in strangers]
    study, problems = [], []
    for case, truth in known.items():
        found = {name: by_method[name][case] for name in names if case in by_method[name]}
        if not truth.usable:
            remarks.append(f"case {case}: no truth in its folder")
        elif not found:
            remarks.append(f"case {case}: no method has a result")
        else:
            grid, group = _grid_and_group(case, truth, groups)
            if grid is None:
                remarks.append(f"case {case}: no image says the grid, so Dice stays unknown")
            problems += [f"{name}, case {case}: {text}" for name in found for text in found[name].problems(grid)]
            study.append(StudyCase(case, group, truth, found))
    if problems:
        more = f" and {len(problems) - _PROBLEMS_SHOWN} more" if len(problems) > _PROBLEMS_SHOWN else ""
        raise InputError(
            "the results cannot be compared with the truth",
            found="; ".join(problems[:_PROBLEMS_SHOWN]) + more,
            hint="write masks on the grid of the truth, or leave them out to have the surfaces voxelized",
        )
    if not study:
        raise InputError("no case has both a result and a truth", expected="folders of the same names")
    return StudyFolders(names, tuple(study), tuple(remarks))


def score_study(study: StudyFolders, progress: Progress | None = None) -> Iterator[Row]:
    """Score every result of a study; a method without a result for a case gets rows of None.

    Raises:
        InputError: a file cannot be used; says which method and case.
    """
    total, done = len(study.cases) * len(study.methods), 0
    for case in study.cases:
        with about(f"truth of case {case.name}"):
            truth = case.truth.read()
        for method in study.methods:
            if progress is not None:
                progress(f"{method}, case {case.name}", done / total)
            done += 1
            result = case.results.get(method)
            if result is None:
                yield from (Row(method, case.group, case.name, structure) for structure in truth.structures)
                continue
            with about(f"{method}, case {case.name}"):
                yield from score_case(
                    result.meshes_ras(),
                    truth,
                    method=method,
                    case=case.name,
                    group=case.group,
                    masks=result.masks(),
                    field=result.field(),
                )


def _subfolders(folder: Path, what: str) -> tuple[str, ...]:
    """Give the names of the folders in a folder."""
    if not folder.is_dir():
        raise InputError(f"the folder of {what} is not there", expected="an existing folder", found=folder.name)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise InputError(f"the folder of {what} is empty", expected="one folder in it per method or case")
    return tuple(names)


def _chosen(names: Sequence[str], wanted: Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Give the wanted names in their order, or all."""
    if wanted is None:
        return tuple(names)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise OptionError(f"there is no such {what}", expected=f"one of {', '.join(names)}", found=", ".join(unknown))
    return tuple(dict.fromkeys(wanted))


def _results_of(folder: Path) -> dict[str, ResultFolder]:
    """Give the usable results of one method by case."""
    found = {path.name: ResultFolder(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    return {name: result for name, result in found.items() if result.usable}


def _grid_and_group(case: str, truth: TruthFolder, groups: Mapping[str, str] | None) -> tuple[Grid | None, str]:
    """Give the grid and the group of a case."""
    with about(f"truth of case {case}"):
        grid = truth.grid()
        if groups is None:
            return grid, truth.group or ONE_GROUP
    if case not in groups:
        raise InputError(f"case {case} has no group", expected="every case in the file of groups")
    return grid, groups[case]
