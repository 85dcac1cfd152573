"""When a part of the service that ended is started again, and when that is given up."""

from __future__ import annotations

import logging
import time

from model.errors import RunError

_log = logging.getLogger(__name__)

_MAX_VAIN_STARTS = 3
_SHORT_LIFE_S = 10.0
_LONGEST_PAUSE_S = 5.0


class Restarts:
    """The starts of one part, of which the first was made already.

    Ending is no reason to give up, however often: a job may take its worker down at every attempt, and an operator may
    restart Redis. A part that ends several times in a row before it ever worked would never work.

    Args:
        name: the part, in words.
        hint: where to look when it does not start.
    """

    def __init__(self, name: str, hint: str) -> None:
        """Begin with the first start."""
        self._name = name
        self._hint = hint
        self.works = False
        self._vain = 0
        self._short = 0
        self._started_at = time.monotonic()
        self._ended_at: float | None = None

    def note_works(self) -> None:
        """Note that the part does its work since its latest start."""
        self.works = True

    def is_due(self, exit_status: int | None) -> bool:
        """Tell whether a part that is not running is to be started now; a start is taken for made.

        One that ended soon after its start waits, a little longer each time.

        Args:
            exit_status: how it ended, for the message.

        Raises:
            RunError: when it ended before it worked, several times in a row.
        """
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at = now
            self._vain = 0 if self.works else self._vain + 1
            self._short = self._short + 1 if now - self._started_at < _SHORT_LIFE_S else 0
            if self._vain >= _MAX_VAIN_STARTS:
                raise RunError(
                    f"{self._name} ends again and again", found=f"exit status {exit_status}", hint=self._hint
                )
            _log.warning("%s ended with status %s and is started again", self._name, exit_status)
        if now - self._ended_at < self._pause_s():
            return False
        self._started_at, self._ended_at, self.works = now, None, False
        return True

    def _pause_s(self) -> float:
        """Give the seconds between an end and the next start."""
        return 0.0 if self._short < 3 else float(min(0.25 * 2 ** (self._short - 3), _LONGEST_PAUSE_S))
