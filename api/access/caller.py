"""Who sends a request and what that caller may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from api.problems import ServiceError
from worker.jobs import JobRecord


class Scope(StrEnum):
    """What a key allows."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    Attributes:
        key_id: id of the API key, or None when access is open (then everything is allowed).
        scopes: what the key allows; `admin` allows all, and sees the jobs of all keys.
    """

    key_id: str | None
    scopes: frozenset[Scope]

    @property
    def owner(self) -> str | None:
        """Whose jobs this caller sees: its own, or, given as None, everybody's."""
        return None if Scope.ADMIN in self.scopes else self.key_id

    def may_see(self, record: JobRecord) -> bool:
        """Tell whether a job is this caller's to see."""
        return self.owner is None or record.owner == self.owner


OPEN = Caller(None, frozenset(Scope))
"""Everybody, where access is open."""


def _allowed(scope: Scope) -> Callable[[Request], Caller]:
    """Give the dependency of routes that need a scope."""

    def caller(request: Request) -> Caller:
        """Give the caller, who has the scope."""
        found: Caller = request.scope.get("state", {}).get("caller", OPEN)
        if not {scope, Scope.ADMIN} & found.scopes:
            raise ServiceError(
                "forbidden", "The key does not allow this", "the API key lacks a scope", expected=scope.value
            )
        return found

    return caller


Submitter = Annotated[Caller, Depends(_allowed(Scope.SUBMIT))]
"""Route parameter: a caller who may submit, cancel and erase jobs."""
Reader = Annotated[Caller, Depends(_allowed(Scope.READ))]
"""Route parameter: a caller who may look at jobs, results and models."""
Admin = Annotated[Caller, Depends(_allowed(Scope.ADMIN))]
"""Route parameter: a caller who may change the service."""
