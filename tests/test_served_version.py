"""One version in a session, alone and with TensorFlow's batching."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import serving_models
import tensorflow as tf

from trpo_tf.serving.served_version import Batching, ServedVersion
from trpo_tf.serving.status_codes import ServingError

# A pause long enough that concurrent requests do meet.
BATCHING = Batching(max_batch_size=32, timeout_micros=20_000)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_models.export_versions(tmp_path_factory.mktemp("models") / "m", 1) / "1"


@pytest.fixture(scope="module", params=[None, BATCHING], ids=["alone", "batched"])
def served(request: pytest.FixtureRequest, path: Path) -> ServedVersion:
    version = ServedVersion(path, request.param)
    yield version
    version.close()


def observations(num_rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, 3)).astype(np.float32)


def test_it_answers_its_warm_up_and_everything_after(served: ServedVersion) -> None:
    served.warm_up()
    rows = observations(5)
    outputs = served.predict("serving_default", {"observations": rows})
    np.testing.assert_allclose(outputs["actions"], serving_models.expected_actions(1, rows))
    assert list(served.signatures) == ["distribution", "sample", "serving_default"]


def test_concurrent_requests_get_their_own_rows(served: ServedVersion) -> None:
    batches = [observations(1 + seed % 3, seed) for seed in range(60)]

    def ask(rows: np.ndarray) -> np.ndarray:
        return served.predict("serving_default", {"observations": rows})["actions"]

    with ThreadPoolExecutor(16) as pool:
        for rows, actions in zip(batches, pool.map(ask, batches), strict=True):
            np.testing.assert_allclose(actions, serving_models.expected_actions(1, rows))


def test_a_bad_request_fails_nobody_else(served: ServedVersion) -> None:
    batches = [observations(1, index) for index in range(48)]
    for rows in batches[::4]:
        rows[0, 1] = np.nan

    def ask(rows: np.ndarray) -> np.ndarray | ServingError:
        try:
            return served.predict("serving_default", {"observations": rows})["actions"]
        except ServingError as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, batches))
    for index, answer in enumerate(answers):
        if index % 4 == 0:
            assert isinstance(answer, ServingError)
            assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "'observations' must be finite" in answer.message
        else:
            expected = serving_models.expected_actions(1, batches[index])
            np.testing.assert_allclose(answer, expected)


def test_a_row_s_draw_is_the_same_alone_in_a_thousand_and_in_any_order(
    served: ServedVersion,
) -> None:
    rows = {
        "observations": observations(1000),
        "seeds": np.random.default_rng(1).integers(-(2**31), 2**31, (1000, 2), dtype=np.int32),
    }
    order = np.random.default_rng(2).permutation(1000)
    together = served.predict("sample", rows)
    moved = served.predict("sample", {name: value[order] for name, value in rows.items()})
    for name, value in together.items():
        np.testing.assert_allclose(moved[name], value[order], atol=1e-5)
    noise = together["raw_actions"] - rows["observations"][:, :1] - np.float32(10)
    assert len(np.unique(noise)) > 900
    for row in (0, 1, 17, 999):
        alone = served.predict("sample", {n: v[row : row + 1] for n, v in rows.items()})
        assert alone["raw_actions"].tobytes() == together["raw_actions"][row].tobytes()
        np.testing.assert_allclose(alone["log_probs"][0], together["log_probs"][row], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"expected the inputs \['observations'\], got \[\]"),
        ({"observations": observations(1), "x": observations(1)}, "expected the inputs"),
        ({"observations": observations(1)[:, :2]}, r"shape \(None, 3\), got \(1, 2\)"),
        ({"observations": observations(1)[0]}, "must have shape"),
        ({"observations": observations(1).astype(np.float64)}, "must be of type float32"),
        ({"observations": observations(0)}, "at least one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(served: ServedVersion, inputs, message: str) -> None:
    with pytest.raises(ServingError, match=message) as refused:
        served.predict("serving_default", inputs)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_inputs_of_different_lengths_and_unknown_signatures_are_refused(
    served: ServedVersion,
) -> None:
    inputs = {"observations": observations(2), "seeds": np.zeros([3, 2], np.int32)}
    with pytest.raises(ServingError, match="agree in their number of rows"):
        served.predict("sample", inputs)
    with pytest.raises(ServingError, match="signature key 'nope' not found; there are dist"):
        served.predict("nope", inputs)


def test_a_broken_version_does_not_come_up(tmp_path: Path) -> None:
    version = serving_models.export_versions(tmp_path / "m", 1) / "1"
    serving_models.break_version(version)
    with pytest.raises((tf.errors.OpError, ServingError)):
        ServedVersion(version, BATCHING).warm_up()


@pytest.mark.parametrize("max_batch_size", [1, 3, 64])
def test_requests_larger_than_a_batch_are_split(path: Path, max_batch_size: int) -> None:
    """The warm-up requests of four rows too."""
    version = ServedVersion(path, Batching(max_batch_size, timeout_micros=0))
    for name, signature in version.signatures.items():
        # Whatever is not split runs alone, which TensorFlow Serving would not do.
        version.signatures[name] = signature._replace(alone=None)
    version.warm_up()
    rows = observations(200)
    outputs = version.predict("serving_default", {"observations": rows})
    np.testing.assert_allclose(outputs["actions"], serving_models.expected_actions(1, rows))
    version.close()


def test_requests_larger_than_the_queue_are_refused(path: Path) -> None:
    batching = Batching(max_batch_size=4, max_enqueued=3)
    assert batching.max_request_size == 12
    version = ServedVersion(path, batching)
    version.predict("serving_default", {"observations": observations(12)})
    with pytest.raises(ServingError, match=r"size 13 is larger than .* 12") as refused:
        version.predict("serving_default", {"observations": observations(13)})
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    version.close()


def test_the_empty_name_is_that_of_the_default_signature(served: ServedVersion) -> None:
    rows = observations(2)
    outputs = served.predict("", {"observations": rows})
    np.testing.assert_allclose(outputs["actions"], serving_models.expected_actions(1, rows))
