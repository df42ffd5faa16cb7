"""What a session finds in a served model; that good models pass is tested by test_saved_model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf import session_check, warmup

ROWS = np.float32([[1, 2], [3, 4], [5, 6]])


def write_model(
    path: Path,
    function: Callable[[Any], Any],
    batches: Sequence[np.ndarray] = (ROWS[:1], ROWS),
    answers: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Path:
    """A model with one signature, `serving_default`, from `x` [N, 2] to `y`, and its warm-up."""
    spec = tf.TensorSpec([None, 2], tf.float32, "x")

    def checked(x: Any) -> Any:
        return {"y": function(tf.debugging.check_numerics(x, "input 'x' must be finite"))}

    signature = tf.function(checked, autograph=False).get_concrete_function(x=spec)
    tf.saved_model.save(tf.Module(), str(path), signatures={"serving_default": signature})
    calls = [
        warmup.Call("serving_default", {"x": rows}, {} if answers is None else {"y": answers(rows)})
        for rows in batches
    ]
    warmup.write_warmup(path, warmup.warmup_requests("model", calls))
    return path


def found(path: Path) -> list[tuple[str, str]]:
    return [(failure["check"], failure["difference"]) for failure in session_check.failures(path)]


def test_a_good_model_passes(tmp_path: Path) -> None:
    assert found(write_model(tmp_path, lambda x: x * 2, answers=lambda x: x * 2)) == []
    assert found(write_model(tmp_path / "without answers", lambda x: x * 2)) == []


BAD: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "one batch size": (
        lambda path: write_model(path, lambda x: x, batches=[ROWS]),
        "warm-up",
        r"two batch sizes are needed, the file has requests of \[3\] rows",
    ),
    "no request": (
        lambda path: write_model(path, lambda x: x, batches=[]),
        "warm-up",
        "two batch sizes are needed, the file has no request",
    ),
    "a failing op": (
        lambda path: write_model(path, lambda x: tf.debugging.check_numerics(1 / (x - x), "oh")),
        "run",
        "1 rows: .*oh",
    ),
    "another answer": (
        lambda path: write_model(path, lambda x: x + 0.001, answers=lambda x: x),
        "answers",
        r"'y' differs from the policy's by up to 0.001 \(at \[0, 0\]: 1.001 instead of 1\)",
    ),
    "another dtype": (
        lambda path: write_model(path, lambda x: x, answers=lambda x: x.astype(np.float64)),
        "answers",
        "float32 of shape .* float64",
    ),
    "a number for all rows": (
        lambda path: write_model(path, tf.reduce_sum),
        "batch",
        r"1 rows in, output 'y' has shape \[\]",
    ),
    "rows that know each other": (
        lambda path: write_model(path, lambda x: x - tf.reduce_mean(x, 0)),
        "rows",
        "row 0 alone: output 'y' differs from what it is among the others by up to 2",
    ),
    "rows that know their place": (
        lambda path: write_model(
            path, lambda x: x + tf.cast(tf.range(tf.shape(x)[0])[:, None], x.dtype)
        ),
        "rows",
        "row 1 alone: output 'y' differs",
    ),
    "NaN": (
        lambda path: write_model(path, lambda x: tf.math.log(2 - x)),
        "finite",
        "output 'y' is NaN for finite observations",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found_for_its_reason(tmp_path: Path, name: str) -> None:
    write, check, difference = BAD[name]
    [(got, text), *_] = found(write(tmp_path))
    assert got == check
    assert re.search(difference, text), text


def test_nan_that_is_answered_is_found(tmp_path: Path) -> None:
    signature = tf.function(lambda x: {"y": tf.nn.relu(x)}).get_concrete_function(
        x=tf.TensorSpec([None, 2], tf.float32, "x")
    )
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"serving_default": signature})
    calls = [warmup.Call("serving_default", {"x": rows}, {}) for rows in (ROWS[:1], ROWS)]
    warmup.write_warmup(tmp_path, warmup.warmup_requests("model", calls))
    assert found(tmp_path) == [("finite", "NaN in input 'x' is answered, not refused")]


def test_masked_actions_agree_with_minus_infinity(tmp_path: Path) -> None:
    masked = np.float32([0, -np.inf])
    assert found(write_model(tmp_path, lambda x: x + masked, answers=lambda x: x + masked)) == []


def test_rounding_is_measured_by_the_largest_row(tmp_path: Path) -> None:
    """A row near 0 is rounded like those beside it; what is more than rounding is found in it."""
    rows = np.float32([[0.5, 0], [500, 0]])

    def shifted(shift: float) -> Callable[[Any], Any]:
        return lambda x: x + shift * tf.cast(tf.shape(x)[0] - 1, tf.float32)

    batches = [rows[:1], rows]
    assert found(write_model(tmp_path / "rounded", shifted(2e-3), batches)) == []
    [(check, text)] = found(write_model(tmp_path / "wrong", shifted(8e-3), batches))
    assert check == "rows"
    assert text.startswith("row 0 alone: ")
    assert text.endswith("0.005 is allowed")


def test_a_batch_without_large_answers_is_held_to_its_own_size(tmp_path: Path) -> None:
    rows = np.float32([[0.5, 0], [500, 0]])
    model = write_model(tmp_path, lambda x: x, [rows[:1], rows], lambda x: x + 2e-3)
    [(check, text)] = found(model)
    assert check == "answers"
    assert text.endswith("1e-05 is allowed")


def test_a_damaged_model_cannot_be_loaded(tmp_path: Path) -> None:
    write_model(tmp_path, lambda x: x)
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    [(check, _)] = found(tmp_path)
    assert check == "load"
