"""What the OpenAPI document says about access."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api.access.guard import WITHOUT_KEY
from api.schemas import problem_responses

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, made with `cochlear keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in another header."},
}


def describe_access(app: FastAPI, *, is_open: bool) -> None:
    """Make the document of an application name the keys, and the refusals that every route shares.

    Args:
        app: the application.
        is_open: whether it asks for no keys.
    """
    describe = app.openapi

    def described() -> dict[str, Any]:
        """Give the document."""
        fresh = app.openapi_schema is None
        document = describe()
        if fresh:
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _add(operation, 400, 408, 413, 431, 503)
                    if path not in WITHOUT_KEY:
                        # The empty requirement says that it goes without.
                        operation["security"] = [{"bearer": []}, {"header": []}, *([{}] if is_open else [])]
                        _add(operation, 401, 403, 429)
                    _correct(operation)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = described  # type: ignore[method-assign]  # the way FastAPI offers


def _correct(operation: dict[str, Any]) -> None:
    """Describe refused parameters as they are answered, in place of what the framework takes for granted."""
    if "application/json" in operation["responses"].get("422", {}).get("content", {}):
        operation["responses"]["422"] = problem_responses(422)[422]


def _add(operation: dict[str, Any], *statuses: int) -> None:
    """Add refusals to one operation."""
    for status, response in problem_responses(*statuses).items():
        operation["responses"].setdefault(str(status), response)
