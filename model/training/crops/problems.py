"""Everything that is wrong with a folder, said at once."""

from __future__ import annotations

from model.errors import InputError


class Problems:
    """Collects what is wrong with which case; cases with the same trouble are named together."""

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self._cases: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._cases)

    def add(self, trouble: str, case: str) -> None:
        """Note a trouble of a case."""
        cases = self._cases.setdefault(trouble, [])
        if case not in cases:
            cases.append(case)

    def add_error(self, error: InputError, case: str) -> None:
        """Note an error that reading a case raised."""
        self.add(error.detail if error.found is None else f"{error.detail} ({error.found})", case)

    def error(self, expected: str) -> InputError:
        """Give the one error that names them all."""
        found = "; ".join(f"{', '.join(cases)}: {trouble}" for trouble, cases in self._cases.items())
        return InputError("the folder of crops cannot be trained on", expected=expected, found=found)
