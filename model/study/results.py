"""What a method scored on an ear, kept so that a study goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.evaluation.rows import Row


@dataclass(frozen=True)
class CaseScore:
    """How one method did on one ear.

    Attributes:
        rows: one per structure with a truth.
        seconds: from the checked request to surfaces, models loaded before.
    """

    rows: tuple[Row, ...]
    seconds: float


class ResultStore:
    """Scores by what they were computed from; after a change of the code the folder has to be deleted."""

    def __init__(self, folder: Path) -> None:
        """Take a folder; it is made when the first score comes."""
        self._folder = folder

    def read(self, method_digest: str, case_digest: str, method: str, group: str, case: str) -> CaseScore | None:
        """Give the score of a method on an ear, under today's names, or None when it is not known.

        Raises:
            InputError: the file of the score is damaged.
        """
        path = self._path(method_digest, case_digest)
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            names = {"method": method, "group": group, "case": case}
            rows = tuple(Row.from_json({**row, **names}) for row in document["rows"])
            return CaseScore(rows, float(document["seconds"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("a kept score cannot be read", found=path.name, hint="delete the file") from error

    def write(self, method_digest: str, case_digest: str, score: CaseScore) -> None:
        """Keep a score; the file appears whole or not at all."""
        path = self._path(method_digest, case_digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        document = {"seconds": score.seconds, "rows": [row.to_json() for row in score.rows]}
        draft.write_text(json.dumps(document) + "\n", encoding="utf-8")
        draft.replace(path)

    def _path(self, method_digest: str, case_digest: str) -> Path:
        return self._folder / f"{hashlib.sha256((method_digest + case_digest).encode()).hexdigest()}.json"


def median_seconds(scores: Sequence[CaseScore]) -> dict[str, float]:
    """Give the median time a case of each method."""
    times: dict[str, list[float]] = {}
    for score in scores:
        times.setdefault(score.rows[0].method, []).append(score.seconds)
    return {method: sorted(values)[len(values) // 2] for method, values in times.items()}
