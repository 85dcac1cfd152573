"""What a pool child does beside jobs: it loads the default bundle before the first job, and reports on itself."""

from __future__ import annotations

import logging
import os

from redis.exceptions import RedisError

from model.errors import CochlearError
from worker.aliases import AliasStore
from worker.engine import Engine
from worker.memory import device_facts, resident_bytes
from worker.presence import BROKEN, LOADED, LOADING, Presence
from worker.settings import Settings

_log = logging.getLogger(__name__)


class SelfReport:
    """The reports of one worker's pool child, and of its parent about it.

    Args:
        worker: name of the worker.
        presence: where they go.
        engine: loads bundles.
        settings: name the default bundle until an alias does.
    """

    def __init__(self, worker: str, presence: Presence, engine: Engine, settings: Settings) -> None:
        """Keep the parts."""
        self._aliases = AliasStore(presence.redis)
        self._engine = engine
        self._worker = worker
        self._presence = presence
        self._settings = settings
        self._loaded: str | None = None

    def hear_canary(self) -> None:
        """Note that a message was consumed, and make sure that the default bundle is loaded (in the pool child)."""
        self._presence.note_consumed(self._worker)
        self._load_default()
        self.report()

    def report(self) -> None:
        """Leave the figures of memory (in the pool child), as far as Redis takes them."""
        try:
            self._presence.note_consumed(self._worker)
            self._presence.note(self._worker, {"child_pid": os.getpid(), **device_facts()})
        except RedisError:
            _log.warning("the report of this worker is put off, Redis is away")

    def report_child(self) -> None:
        """Leave the queues of the worker and what it sees of its pool child, also while that computes."""
        child = self._presence.child_of(self._worker)
        resident = None if child is None else resident_bytes(child)
        facts: dict[str, str | int] = {} if resident is None else {"child_resident_bytes": resident}
        self._presence.note(self._worker, {"queues": ",".join(self._settings.queues), **facts})

    def _load_default(self) -> None:
        """Load and verify the default bundle, unless it is loaded in its present version."""
        bundle = self._aliases.default_bundle(self._settings)
        if self._loaded != bundle:
            self._presence.note(self._worker, {"bundle": bundle, "bundle_state": LOADING})
        try:
            self._engine.segmenter(bundle)
        except CochlearError as error:
            self._note_broken(bundle, error.code)
        except Exception as error:
            # Whatever is wrong with the bundle or the device: it shows in /readyz, and the canary keeps on working.
            self._note_broken(bundle, "internal-error")
            _log.error("the default bundle cannot be loaded", exc_info=error)
        else:
            if self._loaded != bundle:
                _log.info("the default bundle is loaded")
            self._loaded = bundle
            self._presence.note(self._worker, {"bundle": bundle, "bundle_state": LOADED, "bundle_problem": ""})

    def _note_broken(self, bundle: str, code: str) -> None:
        """Say that the default bundle cannot be used, and why."""
        if self._loaded == bundle:
            self._loaded = None
        _log.error("the default bundle cannot be used: %s", code)
        self._presence.note(self._worker, {"bundle": bundle, "bundle_state": BROKEN, "bundle_problem": code})
