"""The OpenAPI document says all that the service does."""

from __future__ import annotations

from typing import Any

import pytest
from service_fixtures import Service

from api.app import create_app
from api.problems import Problem
from api.schemas import Job
from model.meshes.formats import MESH_FORMATS
from worker.settings import Settings, SettingsError


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(redis_url="unix:///nowhere", data_dir="nowhere")).openapi()  # type: ignore[arg-type]


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_all_operations_are_there_with_summary_and_unique_ids(document: dict[str, Any]) -> None:
    found = operations(document)
    job = "/v1/jobs/{job_id}"
    files = {"masks/labels.nii.gz", "masks/segmentation.seg.nrrd", "displacement.nii.gz", "report.json"}
    files |= {"manifest.json", "preview.png", "archive.zip", "meshes/{structure}.{form}", "masks/{structure}.nii.gz"}
    models = {"GET /v1/models", "GET /v1/models/{name}", "GET /v1/aliases"}
    models |= {f"{method} /v1/aliases/{{alias}}" for method in ("GET", "PUT", "DELETE")}
    expected = models | {"GET /", "GET /livez", "GET /readyz", "POST /v1/jobs", "GET /v1/jobs"}
    expected |= {"GET /startupz", "GET /metrics"}
    batch = "/v1/batches/{batch_id}"
    expected |= {
        "POST /v1/batches",
        "GET /v1/batches",
        f"GET {batch}",
        f"DELETE {batch}",
        f"GET {batch}/measurements.csv",
    }
    assert set(found) == expected | {f"GET {job}", f"DELETE {job}"} | {f"GET {job}/{name}" for name in files}
    assert all(operation["summary"] for operation in found.values())
    assert len({operation["operationId"] for operation in found.values()}) == len(found)


def test_the_form_of_a_submission_is_described(document: dict[str, Any]) -> None:
    schema = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == {
        "image",
        "landmarks",
        "side",
        "bundle",
        "formats",
        "webhook",
        "webhook_events",
        "expires_in",
    }
    assert schema["required"] == ["image"]
    assert schema["additionalProperties"] is False
    assert all(form in schema["properties"]["formats"]["description"] for form in MESH_FORMATS)


def test_refusals_are_described_as_problems(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/jobs"]["post"]["responses"]
    assert {"202", "400", "409", "413", "415", "422", "503"} <= set(responses)
    for status, response in responses.items():
        if status != "202":
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema["$ref"].endswith("/Problem")


@pytest.mark.parametrize("model", [Job, Problem])
def test_examples_are_valid(document: dict[str, Any], model: type[Job] | type[Problem]) -> None:
    model.model_validate(document["components"]["schemas"][model.__name__]["example"])


def test_answers_have_the_described_shape(service: Service) -> None:
    page = service.http.get("/v1/jobs").json()
    for job in page["jobs"]:
        assert Job.model_validate(job).model_dump(mode="json", by_alias=True) == job


def test_without_a_redis_server_there_is_no_application() -> None:
    with pytest.raises(SettingsError, match="COCHLEAR_REDIS_URL"):
        create_app(Settings(redis_url=None))
