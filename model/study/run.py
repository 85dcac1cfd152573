"""Running methods over ears, several ears at a time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.bundle import find_bundle, load_bundle
from model.errors import DeviceError, RunError
from model.evaluation.folds import DisplacementField
from model.evaluation.scoring import score_case
from model.evaluation.truth import CaseTruth
from model.methods.choose import choose_methods
from model.methods.method import Method, MethodResult
from model.study.case import StudyCase
from model.study.results import CaseScore, ResultStore
from model.study.sets import Recipe
from model.study.workshop import Workshop

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class StudyPlan:
    """What a study compares, in words that travel to other processes.

    Attributes:
        anatomy: name or path of the bundle whose atlas is used, see `Workshop`.
        methods: names of methods, see `choose_method`.
        folder: where made ears and kept scores lie.
        device: where networks run.
    """

    anatomy: str
    methods: tuple[str, ...]
    folder: Path
    device: str = "auto"


class Runner:
    """Runs the methods of a plan on one ear after the other; models are loaded once."""

    def __init__(self, plan: StudyPlan) -> None:
        """Load what the plan names.

        Raises:
            InputError: a method or bundle is not known.
        """
        anatomy = load_bundle(find_bundle(plan.anatomy))
        self._workshop = Workshop(anatomy, plan.folder / "ears")
        self._store = ResultStore(plan.folder / "scores")
        self.methods: Sequence[Method] = choose_methods(plan.methods, anatomy, plan.device)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {method.name: method.digest for method in self.methods}

    def run(self, recipe: Recipe) -> list[CaseScore]:
        """Give the scores of all methods on one ear, those kept from earlier runs as they are."""
        case = recipe.make(self._workshop)
        truth = None
        scores = []
        for method in self.methods:
            digest = self._digests[method.name]
            score = self._store.read(digest, case.digest, method.name, case.group, case.name)
            if score is None:
                truth = truth or case.truth()
                score = score_method(method, case, truth)
                self._store.write(digest, case.digest, score)
            scores.append(score)
        return scores


def score_method(method: Method, case: StudyCase, truth: CaseTruth) -> CaseScore:
    """Segment an ear and score what was found; where the method fails, all is unknown.

    Raises:
        InputError: the method cannot take the image.
        DeviceError: the device is not there or ran out of memory, which says nothing about the method.
    """
    request = case.request(method.bundle)
    start = time.perf_counter()
    try:
        found = method.segment(request)
    except DeviceError:
        raise
    except RunError:
        found = MethodResult({}, None)
    seconds = time.perf_counter() - start
    field = None
    if found.ddf_ijk is not None:
        field = DisplacementField(found.ddf_ijk, request.alignment.canonical_to_ras)
    rows = score_case(
        found.meshes_ras,
        truth,
        method=method.name,
        case=case.name,
        group=case.group,
        masks=found.masks,
        field=field,
    )
    return CaseScore(tuple(rows), round(seconds, 2))


def run_plan(plan: StudyPlan, recipes: Sequence[Recipe], processes: int, progress: Progress) -> list[CaseScore]:
    """Run a plan over all ears.

    Args:
        plan: what is compared.
        recipes: the ears.
        processes: ears worked on at a time, each on one thread.
        progress: told which ear is done and the fraction done.

    Returns:
        The scores in the order of ears, then methods, whatever the order in which they were done.

    Raises:
        CochlearError: an ear cannot be used or a method failed; what was done before is kept.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(plan,)) as pool:
        pending = {pool.submit(_run, recipe): recipe for recipe in recipes}
        try:
            for done, future in enumerate(as_completed(pending), start=1):
                future.result()
                progress(pending[future].name, done / len(pending))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [score for future in pending for score in future.result()]


_runner: Runner | None = None
"""The runner of this process, in the processes of the pool."""


def _start(plan: StudyPlan) -> None:
    """Load the plan in a process of the pool."""
    import torch

    global _runner
    torch.set_num_threads(1)
    _runner = Runner(plan)


def _run(recipe: Recipe) -> list[CaseScore]:
    """Run one ear in a process of the pool."""
    assert _runner is not None  # noqa: S101 - the pool starts its processes with `_start`
    return _runner.run(recipe)
