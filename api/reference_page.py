"""`/docs`: the OpenAPI document as one plain page, without scripts and without anything from other servers.

Hospital networks often reach no others, and a page of the service that ran foreign scripts could act with its rights.
"""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}pre{white-space:pre-wrap}"
    "code{background:#eee;padding:0 .2em}summary{cursor:pointer}td{padding-right:1em;vertical-align:top}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def install(app: FastAPI) -> None:
    """Offer the page at `/docs`."""

    def page(request: Request) -> HTMLResponse:
        """Give the page."""
        prefix = request.scope.get("root_path", "").rstrip("/")
        return HTMLResponse(_page(app.openapi(), prefix), headers={"Content-Security-Policy": _POLICY})

    app.add_api_route("/docs", page, include_in_schema=False)


def _page(document: dict[str, Any], prefix: str) -> str:
    """Write the document as HTML."""
    info = document["info"]
    operations = "".join(
        _operation(method.upper(), prefix + path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    title = escape(f"{info['title']} {info['version']}")
    head = f'<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
    return (
        f'<!doctype html><html lang="en">{head}<body>'
        f"<h1>{title}</h1><pre>{escape(info.get('description', '').strip())}</pre>"
        f'<p>For programs: <a href="{escape(prefix)}/openapi.json">openapi.json</a></p>{operations}</body></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    """Write one operation."""
    rows = [(item["name"], item.get("description", "")) for item in operation.get("parameters", [])]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        fields = content.get("schema", {}).get("properties", {})
        rows += [(name, field.get("description", "")) for name, field in fields.items()]
    answers = [(status, response.get("description", "")) for status, response in operation["responses"].items()]
    return (
        f"<details><summary><code>{method} {escape(path)}</code> {escape(operation.get('summary', ''))}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>{_table(rows)}{_table(answers)}</details>"
    )


def _table(rows: list[tuple[str, str]]) -> str:
    """Write a table of names and what they mean."""
    cells = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>" if rows else ""
