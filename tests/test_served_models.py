"""The table of versions: what takes traffic, and how that changes."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
import serving_models
import tensorflow as tf
from serving_models import config_of

from trpo_tf import warmup
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


def status(models: ServedModels, target: dict) -> None:
    models.status("m", **target)


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
    for target, code in (({"version": 3}, "NOT_FOUND"), ({"label": "canary"}, "INVALID_ARGUMENT")):
        for ask in (lambda where: answering(models, **where), lambda where: status(models, where)):
            with pytest.raises(ServingError) as refused:
                ask(target)
            assert refused.value.code is grpc.StatusCode[code]
    models.apply(config_of(base, [2], stable=2))
    assert states(models) == {2: "AVAILABLE"}


def test_unknown_models_and_versions_are_not_found(models: ServedModels, base: Path) -> None:
    for ask in (lambda: answering(models), lambda: models.status("m")):
        with pytest.raises(ServingError) as refused:
            ask()
        assert refused.value.code is grpc.StatusCode.NOT_FOUND
    # As TensorFlow Serving has it.
    with pytest.raises(ServingError, match="INVALID_ARGUMENT: Unrecognized servable version label"):
        answering(models, label="stable")
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


class Unanswering:
    """A version whose warm-up fails as nobody foresaw."""

    def __init__(self, path: Path) -> None:
        self.closed = False

    def warm_up(self) -> None:
        raise KeyError("x")

    def close(self) -> None:
        self.closed = True


def test_whatever_a_version_fails_with_is_told_and_leaves_nothing_open(base: Path) -> None:
    loaded = []

    def load(path: Path) -> Unanswering:
        loaded.append(Unanswering(path))
        return loaded[-1]

    models = ServedModels(load)
    models.apply(config_of(base, [1]))
    [entry] = models.status("m").model_version_status
    assert entry.State.Name(entry.state) == "END"
    assert entry.status.error_message == "KeyError: 'x'"
    assert [version.closed for version in loaded] == [True]
    models.close()


def test_a_damaged_warm_up_file_ends_its_version_alone(
    models: ServedModels, base: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "m"
    shutil.copytree(base, copy)
    damaged = copy / "2" / "assets.extra" / warmup.FILE_NAME
    with tf.io.TFRecordWriter(str(damaged)) as writer:
        writer.write(b"no PredictionLog")
    models.apply(config_of(copy, [1, 2]))
    assert states(models) == {2: "END", 1: "AVAILABLE"}
    words = models.status("m", version=2).model_version_status[0].status.error_message
    assert f"{damaged} holds no warm-up requests: Error parsing message" in words


@pytest.mark.parametrize("policy", ["latest", "all"])
def test_a_base_directory_that_is_away_for_a_moment_changes_nothing(
    models: ServedModels, base: Path, tmp_path: Path, policy: str
) -> None:
    copy = tmp_path / "m"
    shutil.copytree(base / "1", copy / "1")
    config = config_of(copy, [], stable=1)
    getattr(config.model_config_list.config[0].model_version_policy, policy).SetInParent()
    models.apply(config)
    copy.rename(tmp_path / "away")
    models.look_again()
    assert states(models) == {1: "AVAILABLE"}
    assert answering(models, label="stable") == 1
    (tmp_path / "away").rename(copy)
    shutil.rmtree(copy / "1")
    models.look_again()
    with pytest.raises(ServingError, match="NOT_FOUND"):
        answering(models)


def test_a_refused_config_changes_nothing(models: ServedModels, base: Path) -> None:
    models.apply(config_of(base, [1], stable=1))
    nameless, twice = config_of(base, [2]), config_of(base, [2])
    nameless.model_config_list.config[0].name = ""
    twice.MergeFrom(config_of(base, [3]))
    custom = type(twice)()
    custom.custom_model_config.SetInParent()
    for config, message in (
        (nameless, "needs a name"),
        (twice, "listed more than once: m"),
        (custom, "only a model_config_list"),
    ):
        with pytest.raises(ServingError, match=f"INVALID_ARGUMENT: .*{message}"):
            models.apply(config)
        models.look_again()
        assert states(models) == {1: "AVAILABLE"}


def test_an_empty_config_changes_nothing_and_an_empty_list_unloads(
    models: ServedModels, base: Path
) -> None:
    config = config_of(base, [1])
    models.apply(config)
    models.apply(type(config)())
    models.look_again()
    assert answering(models) == 1
    del config.model_config_list.config[:]
    models.apply(config)
    with pytest.raises(ServingError, match="NOT_FOUND"):
        answering(models)
