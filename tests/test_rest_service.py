"""The REST API: its paths, its statuses, and what it does with nonsense."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
import serving_models
from fuzzed_requests import fuzzed_requests
from serving_models import ROWS, call_wsgi, config_of

from trpo_tf.serving.rest_service import rest_service
from trpo_tf.serving.served_models import ServedModels
from trpo_tf.serving.served_version import ServedVersion
from trpo_tf.serving.status_codes import ServingError, http_status

PREDICT = "/v1/models/m:predict"
GOOD = json.dumps({"instances": ROWS.tolist()}).encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    base = serving_models.export_versions(tmp_path_factory.mktemp("models") / "m", 2)
    models = ServedModels(ServedVersion)
    models.apply(config_of(base, [1, 2], stable=1, canary=2))
    yield rest_service(models)
    models.close()


@pytest.mark.parametrize(
    ("path", "version"),
    [
        (PREDICT, 2),
        ("/v1/models/m/versions/1:predict", 1),
        ("/v1/models/m/labels/stable:predict", 1),
        ("/v1/models/m/labels/canary:predict", 2),
    ],
)
def test_versions_and_labels_answer(service: Callable, path: str, version: int) -> None:
    for key, name in (("instances", "predictions"), ("inputs", "outputs")):
        status, body = call_wsgi(service, "POST", path, json.dumps({key: ROWS.tolist()}).encode())
        assert status == 200
        np.testing.assert_allclose(json.loads(body)[name], serving_models.expected_actions(version))


def test_status_and_metadata(service: Callable) -> None:
    status, body = call_wsgi(service, "GET", "/v1/models/m")
    assert status == 200
    ok = {"error_code": "OK", "error_message": ""}
    assert json.loads(body)["model_version_status"] == [
        {"version": "2", "state": "AVAILABLE", "status": ok},
        {"version": "1", "state": "AVAILABLE", "status": ok},
    ]
    status, body = call_wsgi(service, "GET", "/v1/models/m/labels/stable/metadata")
    assert status == 200
    metadata = json.loads(body)
    assert metadata["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    observations = signatures["serving_default"]["inputs"]["observations"]
    assert observations["dtype"] == "DT_FLOAT"
    assert [d["size"] for d in observations["tensor_shape"]["dim"]] == ["-1", "3"]


BAD = {
    "missing key": (PREDICT, {"inputs": {}}, 400, "expected the inputs"),
    "extra key": (PREDICT, {"instances": [{"observations": [1, 2, 3], "b": 1}]}, 400, "expected"),
    "wrong width": (PREDICT, {"instances": [[1, 2]]}, 400, "must have shape (None, 3), got (1, 2)"),
    "wrong dtype": (PREDICT, {"instances": [["a", "b", "c"]]}, 400, "must be of type float32"),
    "NaN": (PREDICT, {"instances": [[float("nan"), 1, 2]]}, 400, "must be finite"),
    "infinity": (PREDICT, {"instances": [[1e40, 1, 2]]}, 400, "must be finite"),
    "empty": (PREDICT, {"instances": []}, 400, "at least one row"),
    "unknown signature": (PREDICT, {"signature_name": "a", "instances": [[1]]}, 400, "not found"),
    "seeds missing": (PREDICT, {"signature_name": "sample", "instances": [[1, 2, 3]]}, 400, "keys"),
    "unknown version": ("/v1/models/m/versions/9:predict", {"instances": [[1]]}, 404, "version 9"),
    "unknown label": ("/v1/models/m/labels/a:predict", {"instances": [[1]]}, 400, "label: a"),
    "unknown model": ("/v1/models/a:predict", {"instances": [[1]]}, 404, "Servable not found"),
    "unknown path": ("/v2/models/m:predict", {}, 400, "Malformed request: POST"),
    "no action": ("/v1/models/m", {}, 400, "Malformed request: POST /v1/models/m"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_what_is_wrong(service: Callable, name: str) -> None:
    path, request, wanted, message = BAD[name]
    status, body = call_wsgi(service, "POST", path, json.dumps(request).encode())
    assert status == wanted
    assert message in json.loads(body)["error"]


def test_ten_megabytes_of_nonsense_are_refused(service: Callable) -> None:
    status, body = call_wsgi(service, "POST", PREDICT, b"[" * 10_000_000)
    assert status == 400
    assert json.loads(body)["error"]
    assert call_wsgi(service, "POST", PREDICT, GOOD)[0] == 200


def test_fuzzed_requests_are_answered_or_refused(service: Callable) -> None:
    statuses: Counter[int] = Counter()
    for request in fuzzed_requests(2000, seed=0):
        status, body = call_wsgi(service, *request)
        statuses[status] += 1
        answer = json.loads(body)
        assert status == 200 or (400 <= status < 500 and answer["error"]), request
    assert min(statuses[200], statuses[400], statuses[404]) > 20
    assert call_wsgi(service, "POST", PREDICT, GOOD)[0] == 200


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "post"])
def test_other_methods_are_refused(service: Callable, method: str) -> None:
    for path in ("/v1/models/m", "/v1/models/m/metadata", PREDICT):
        status, body = call_wsgi(service, method, path, GOOD)
        assert status == 400
        assert body == b"" if method == "HEAD" else b"Malformed request: " in body


def test_an_empty_signature_name_is_the_default(service: Callable) -> None:
    body = {"signature_name": "", "instances": ROWS.tolist()}
    status, answer = call_wsgi(service, "POST", PREDICT, json.dumps(body).encode())
    assert status == 200
    np.testing.assert_allclose(
        json.loads(answer)["predictions"], serving_models.expected_actions(2)
    )


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_error_has_a_status_line(code: grpc.StatusCode) -> None:
    class Failing:
        def status(self, *target: object) -> None:
            raise ServingError(code, "in its own words")

    status, body = call_wsgi(rest_service(Failing()), "GET", "/v1/models/m")
    assert status == http_status(code)
    assert json.loads(body) == {"error": "in its own words"}
