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


def describe_access(app: FastAPI) -> None:
    """Make the document of an application name the keys, and the refusals that every route shares."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        """Give the document."""
        fresh = app.openapi_schema is None
        document = describe()
        if fresh:
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if path not in WITHOUT_KEY:
                        _add(operation)
                    _correct(operation)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = described  # type: ignore[method-assign]  # the way FastAPI offers


def _correct(operation: dict[str, Any]) -> None:
    """Describe refused parameters as they are answered, in place of what the framework takes for granted."""
    if "application/json" in operation["responses"].get("422", {}).get("content", {}):
        operation["responses"]["422"] = problem_responses(422)[422]


def _add(operation: dict[str, Any]) -> None:
    """Add to one operation what needs a key."""
    # The empty requirement stands for a service whose access is open.
    operation["security"] = [{"bearer": []}, {"header": []}, {}]
    for status, response in problem_responses(401, 403, 413, 429, 503).items():
        operation["responses"].setdefault(str(status), response)
