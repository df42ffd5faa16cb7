"""The table of versions: what takes traffic, and how that changes."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
import serving_models
from serving_models import config_of

from trpo_tf.serving.served_models import ServedModels
from trpo_tf.serving.served_version import ServedVersion
from trpo_tf.serving.status_codes import ServingError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_models.export_versions(tmp_path_factory.mktemp("models") / "m", 3)


@pytest.fixture
def models():
    table = ServedModels(ServedVersion)
    yield table
    table.close()


def answering(models: ServedModels, **target) -> int:
    """The version that answers, by its number and by what it says."""
    with models.use("m", **target) as (number, served):
        actions = served.predict("serving_default", {"observations": serving_models.ROWS})
    np.testing.assert_allclose(actions["actions"], serving_models.expected_actions(number))
    return number


def states(models: ServedModels) -> dict[int, str]:
    response = models.status("m")
    kind = type(response.model_version_status[0])
    return {s.version: kind.State.Name(s.state) for s in response.model_version_status}


def test_versions_labels_and_the_newest(models: ServedModels, base: Path) -> None:
    models.apply(config_of(base, [1, 2], stable=1, canary=2))
    assert answering(models) == 2
    assert answering(models, version=1) == 1
    assert answering(models, label="stable") == 1
    models.apply(config_of(base, [1, 2], stable=2))
    assert answering(models, label="stable") == 2
    assert states(models) == {2: "AVAILABLE", 1: "AVAILABLE"}
    for target in ({"version": 3}, {"label": "canary"}):
        with pytest.raises(ServingError) as refused:
            answering(models, **target)
        assert refused.value.code is grpc.StatusCode.NOT_FOUND
    models.apply(config_of(base, [2], stable=2))
    assert states(models) == {2: "AVAILABLE"}


def test_unknown_models_and_versions_are_not_found(models: ServedModels, base: Path) -> None:
    for ask in (lambda: answering(models), lambda: models.status("m")):
        with pytest.raises(ServingError) as refused:
            ask()
        assert refused.value.code is grpc.StatusCode.NOT_FOUND
    models.apply(config_of(base, [1]))
    with pytest.raises(ServingError, match="Could not find version 9"):
        models.status("m", version=9)


def test_a_version_that_fails_to_load_never_takes_traffic(
    models: ServedModels, base: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "m"
    shutil.copytree(base, copy)
    serving_models.break_version(copy / "2")
    models.apply(config_of(copy, [1], stable=1))
    with pytest.raises(ServingError, match="assign label 'stable' to version 2") as refused:
        models.apply(config_of(copy, [2], stable=2))
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert states(models) == {2: "END", 1: "AVAILABLE"}
    assert models.status("m", version=2).model_version_status[0].status.error_message
    assert answering(models) == 1
    assert answering(models, label="stable") == 1


def test_a_version_that_comes_later_is_served_then(
    models: ServedModels, base: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "m"
    shutil.copytree(base / "1", copy / "1")
    newest = config_of(copy, [])
    newest.model_config_list.config[0].ClearField("model_version_policy")
    models.apply(newest)
    assert states(models) == {1: "AVAILABLE"}
    shutil.copytree(base / "2", copy / "2")
    models.look_again()
    assert states(models) == {2: "AVAILABLE"}
    newest.model_config_list.config[0].model_version_policy.all.SetInParent()
    models.apply(newest)
    assert states(models) == {2: "AVAILABLE", 1: "AVAILABLE"}


def test_a_version_finishes_its_requests_before_it_goes(models: ServedModels, base: Path) -> None:
    models.apply(config_of(base, [1], stable=1))
    inside, leave = threading.Event(), threading.Event()
    answers = []

    def slow_request() -> None:
        with models.use("m", label="stable") as (number, served):
            inside.set()
            leave.wait()
            outputs = served.predict("serving_default", {"observations": serving_models.ROWS})
            answers.append((number, outputs["actions"]))

    request = threading.Thread(target=slow_request)
    request.start()
    inside.wait()
    change = threading.Thread(target=lambda: models.apply(config_of(base, [2], stable=2)))
    change.start()
    while states(models).get(1) != "UNLOADING":
        pass
    assert answering(models, label="stable") == 2
    leave.set()
    request.join()
    change.join()
    [(number, actions)] = answers
    assert number == 1
    np.testing.assert_allclose(actions, serving_models.expected_actions(1))
    assert states(models) == {2: "AVAILABLE"}


def test_a_config_without_names_is_refused(models: ServedModels, base: Path) -> None:
    config = config_of(base, [1])
    config.model_config_list.config[0].name = ""
    with pytest.raises(ServingError, match="needs a name and a base_path"):
        models.apply(config)
