"""Logs of all processes: one line per event, as JSON or as text, without patient values, file names or paths.

Log calls of this project name jobs, requests, codes and counts, never what a user sent. For lines of libraries, and for
exceptions, which quote what they stumbled over, the formatter holds the rule:

- an exception given as an argument is written as the name of its class;
- a traceback is written as class names and the places in the code (`module.py:line in function`), for the exception and
  those that led to it, without messages, without source lines and without values of variables;
- the data folder, the artifact store and the address of Redis are replaced by a word, wherever they occur;
- attributes that a library attaches to a record are not written.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from pythonjsonlogger.json import JsonFormatter

from worker.log_context import JOB_ID, REQUEST_ID, TRACEPARENT
from worker.settings import Settings

EXTRA = "cochlear"
"""Attribute of a record that holds further fields: `_log.info("...", extra={EXTRA: {"status": 200}})`."""

_QUIET = {
    "celery.worker.strategy": logging.WARNING,  # a line for every message; the job is logged where it runs
    "celery.app.trace": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,  # its lines hold raw paths and query strings
}
_ENVIRONMENT = "COCHLEAR_LOG_FORMAT"
_SHOWN = ("request_id", "job_id", "worker")


def configure(settings: Settings, worker: str | None = None) -> None:
    """Send all log lines of this process to standard error in the one form; may be called again.

    Args:
        settings: names the format, and what must not be written.
        worker: name of the worker this process belongs to, or None.
    """
    form = settings.log_format or ("text" if sys.stderr.isatty() else "json")
    secrets = _secrets(settings)
    handler = _Handler()
    handler.setFormatter(_Json(secrets, worker) if form == "json" else _Text(secrets, worker))
    logging.getLogger().setLevel(logging.INFO)
    # The logger of Celery's process pool passes nothing on to the root.
    for logger in (logging.getLogger(), logging.getLogger("multiprocessing")):
        for old in [old for old in logger.handlers if isinstance(old, _Handler)]:
            logger.removeHandler(old)
        logger.addHandler(handler)
    logging.getLogger("multiprocessing").propagate = False
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    # What a program started from here says, it says in the same form, wherever its output goes.
    os.environ[_ENVIRONMENT] = form


class _Handler(logging.StreamHandler[Any]):
    """The handler of this module, known by its class."""

    def __init__(self) -> None:
        """Write to standard error as it is now."""
        super().__init__(sys.stderr)


class _Safe(logging.Formatter):
    """What both forms share: facts about a record, and a message without what must not be written."""

    def __init__(self, secrets: Mapping[str, str], worker: str | None) -> None:
        """Keep the words to replace and the name of the worker."""
        super().__init__()
        self._secrets = secrets
        self._worker = worker

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        """Give the fields of a record, without those that do not apply."""
        trace = TRACEPARENT.get()
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.hidden(_message(record)),
            "request_id": REQUEST_ID.get(),
            "job_id": JOB_ID.get(),
            "traceparent": trace,
            "trace_id": None if trace is None else trace.split("-")[1],
            "worker": self._worker,
            "process": record.process,
            **getattr(record, EXTRA, {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = describe_exception(record.exc_info[1])
        return {name: value for name, value in fields.items() if value is not None}

    def hidden(self, text: str) -> str:
        """Replace what must not be written."""
        for secret, word in self._secrets.items():
            text = text.replace(secret, word)
        return text


class _Json(_Safe):
    """One JSON object a line."""

    def __init__(self, secrets: Mapping[str, str], worker: str | None) -> None:
        """Prepare the serializer."""
        super().__init__(secrets, worker)
        self._json = JsonFormatter()

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        return str(self._json.serialize_log_record(self.facts(record)))


class _Text(_Safe):
    """One line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        facts = self.facts(record)
        more = {name: facts[name] for name in _SHOWN if name in facts} | dict(getattr(record, EXTRA, {}))
        words = [f"{name}={value}" for name, value in more.items() if value is not None]
        trail = facts.get("exception", [])
        lines = [f"  {line}" for line in trail] if isinstance(trail, list) else []
        line = f"{facts['time']} {record.levelname:<7} {record.name}: {facts['message']} {' '.join(words)}"
        return "\n".join([line.rstrip(), *lines])


def describe_exception(error: BaseException) -> list[str]:
    """Give an exception and what led to it as class names and places in the code, the outermost first.

    Neither messages nor values are given: both may hold what a patient's file holds.
    """
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines.append(_named(current))
        lines += _places(current.__traceback__)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


def _places(trace: TracebackType | None) -> list[str]:
    """Give the places of a traceback; of a path only its last two parts, as the rest is about the machine."""
    return [
        f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(trace)
    ]


def _named(error: object) -> str:
    """Give the name of an exception's class and, where the system gave one, its error number."""
    number = getattr(error, "errno", None)
    name = type(error).__qualname__
    return f"{name}(errno {number})" if isinstance(number, int) else name


def _message(record: logging.LogRecord) -> str:
    """Give the message of a record with exceptions as names of classes, kept to one line."""
    arguments: Any = record.args
    if isinstance(arguments, Mapping):
        # Celery's words for a task that raised: `exc` and `traceback` quote what the exception says.
        hidden = {"exc": "an exception", "traceback": "", "args": "", "kwargs": "", "return_value": ""}
        arguments = {name: hidden.get(str(name), _plain(value)) for name, value in arguments.items()}
    elif arguments:
        arguments = tuple(_plain(value) for value in arguments)
    text = str(_plain(record.msg))
    text = text % arguments if arguments else text
    if record.name == "asyncio":
        # The lines after the first are the repr of the task, its exception included.
        text = text.splitlines()[0] if text else text
    return " ".join(text.split())


def _plain(value: object) -> object:
    """Give an argument of a log call, exceptions by their name."""
    return _named(value) if isinstance(value, BaseException) else value


def _secrets(settings: Settings) -> dict[str, str]:
    """Give what must not be written with the word that takes its place, the longest first."""
    found = {str(settings.data_dir): "<data>", settings.artifacts_url: "<store>"}
    if settings.redis_url is not None:
        address = urlsplit(settings.redis_url)
        found[settings.redis_url] = "<redis>"
        if address.password:
            found[address.password] = "<password>"
            found[unquote(address.password)] = "<password>"
        if settings.redis_url.startswith("unix://"):
            found[address.path] = "<redis>"
    return dict(sorted(((a, b) for a, b in found.items() if len(a) > 1), key=lambda pair: -len(pair[0])))
