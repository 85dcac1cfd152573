"""What the OpenAPI document says of the form and headers of a submission, which the framework does not parse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.idempotency import PARAMETER
from api.waiting import MAX_WAIT_S
from model.meshes.formats import MESH_FORMATS
from worker.webhooks import DEFAULT_EVENTS, EVENTS

FORM_FIELDS: Mapping[str, Any] = {
    "image": {
        "type": "string",
        "format": "binary",
        "description": "The ear as NIfTI (.nii or .nii.gz): a raw CT, or a prepared crop.",
    },
    "landmarks": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON with at least three of the landmarks RW, C, A, OW, V; needed for a raw CT.",
        "example": '{"side": "left", "space": "RAS", "unit": "mm", "landmarks": '
        '{"RW": [-16.2, -95.5, -97.4], "C": [-21.6, -93.4, -96.6], "A": [-22.7, -96.1, -96.1]}}',
    },
    "side": {"type": "string", "enum": ["left", "right"], "description": "Laterality of the ear."},
    "bundle": {
        "type": "string",
        "description": "Name of a model bundle, `name@digest`, or an alias; else the alias `default`.",
        "example": "cochlea-ct-v2",
    },
    "formats": {
        "type": "string",
        "description": "Mesh formats to put into the results, separated by commas: "
        + ", ".join(MESH_FORMATS)
        + ". Any other is still made on request.",
        "default": "vtk,stl",
    },
    "webhook": {
        "type": "string",
        "format": "uri",
        "description": "https address that is told of the job, signed as Standard Webhooks asks: "
        "type of the event and the job as GET shows it. Private addresses are refused.",
        "example": "https://example.org/hook",
    },
    "webhook_events": {
        "type": "string",
        "description": "States whose beginning is told, separated by commas: " + ", ".join(EVENTS),
        "default": ",".join(DEFAULT_EVENTS),
    },
    "expires_in": {
        "type": "integer",
        "minimum": 1,
        "description": "Seconds after the end of the job for which its files are wanted; the "
        "service may keep them shorter, see `expires_at`.",
        "example": 86400,
    },
}
"""Schemas of the fields of a submission."""

_PREFER: Mapping[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": f"RFC 7240: `wait=N` waits up to N seconds ({MAX_WAIT_S} at most) for the job to end, then answers "
    "200 with the ended job, or 202 as without; `respond-async` is what is done anyway. `Preference-Applied` tells.",
    "schema": {"type": "string"},
    "example": "respond-async, wait=30",
}
IF_NONE_MATCH: Mapping[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "Entity tag of the representation that the client has; 304 when it is still the same.",
    "schema": {"type": "string"},
}
"""The OpenAPI entry of the header of conditional requests."""
SUBMISSION: Mapping[str, Any] = {
    "parameters": [PARAMETER, _PREFER],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": dict(FORM_FIELDS),
                }
            }
        },
    },
}
"""The OpenAPI entries of `POST /v1/jobs`."""
