"""The per-row generator: published known answers, the same numbers however run, sane statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.random import (
    row_bits,
    row_gumbels,
    row_normals,
    row_uniforms,
    step_seeds,
    threefry2x32,
)

# Random123, tests/kat_vectors, "threefry2x32 20": counter, key, result.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]
FLOATS = {"uniforms": row_uniforms, "normals": row_normals, "gumbels": row_gumbels}


def reference_threefry(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """The paper's definition in Python's integers."""
    mask = 2**32 - 1
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    left, right = (counter[0] + keys[0]) & mask, (counter[1] + keys[1]) & mask
    for number in range(20):
        rotation = (13, 15, 26, 6, 17, 29, 16, 24)[number % 8]
        left = (left + right) & mask
        right = ((right << rotation | right >> (32 - rotation)) & mask) ^ left
        if number % 4 == 3:
            injection = number // 4 + 1
            left = (left + keys[injection % 3]) & mask
            right = (right + keys[(injection + 1) % 3] + injection) & mask
    return left, right


def some_seeds(num_rows: int, seed: int = 0) -> tf.Tensor:
    return tf.reshape(step_seeds(seed, 0, num_rows, 0, 1), [num_rows, 2])


@pytest.mark.parametrize("execution", list(Execution))
def test_published_known_answers(execution: Execution) -> None:
    counters, keys, results = (
        np.array(part, np.uint32) for part in zip(*KNOWN_ANSWERS, strict=True)
    )
    enciphered = execution.compile(threefry2x32)(tf.constant(keys), tf.constant(counters))
    np.testing.assert_array_equal(enciphered, results)


def test_random_keys_and_counters_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    keys, counters = rng.integers(0, 2**32, size=(2, 50, 2), dtype=np.uint32)
    expected = [
        reference_threefry(tuple(key), tuple(counter))
        for key, counter in zip(keys.tolist(), counters.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(threefry2x32(tf.constant(keys), tf.constant(counters)), expected)


def test_row_bits_are_the_cipher_of_the_block_index_under_the_seed() -> None:
    seeds = np.array([[-1, 7], [0, -(2**31)], [2**31 - 1, 5]], np.int32)
    bits = row_bits(tf.constant(seeds), 5).numpy()
    assert bits.shape == (3, 5)
    for row, seed in zip(bits, seeds.view(np.uint32).tolist(), strict=True):
        words = [word for block in range(3) for word in reference_threefry(tuple(seed), (block, 0))]
        assert row.tolist() == words[:5]


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.XLA])
def test_bits_are_the_same_however_run(execution: Execution) -> None:
    seeds = some_seeds(257)
    compiled = execution.compile(lambda rows: row_bits(rows, 9))
    np.testing.assert_array_equal(compiled(seeds), row_bits(seeds, 9))


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.XLA])
@pytest.mark.parametrize("name", FLOATS)
def test_float32_is_the_same_bit_for_bit_however_run(name: str, execution: Execution) -> None:
    function = FLOATS[name]
    seeds = some_seeds(2000)
    compiled = execution.compile(lambda rows: function(rows, 7, tf.float32))
    np.testing.assert_array_equal(compiled(seeds), function(seeds, 7, tf.float32))


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.XLA])
@pytest.mark.parametrize("name", FLOATS)
def test_float64_is_the_same_to_rounding_however_run(name: str, execution: Execution) -> None:
    function = FLOATS[name]
    seeds = some_seeds(500)
    compiled = execution.compile(lambda rows: function(rows, 7, tf.float64))
    np.testing.assert_allclose(
        compiled(seeds), function(seeds, 7, tf.float64), rtol=1e-13, atol=1e-14
    )


@pytest.mark.parametrize("name", FLOATS)
def test_a_row_does_not_know_its_batch(name: str) -> None:
    function = FLOATS[name]
    seeds = some_seeds(64)
    together = function(seeds, 11, tf.float32).numpy()
    order = np.random.default_rng(1).permutation(64)
    np.testing.assert_array_equal(
        function(tf.gather(seeds, order), 11, tf.float32), together[order]
    )
    for size in (1, 3, 8):
        np.testing.assert_array_equal(function(seeds[:size], 11, tf.float32), together[:size])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FLOATS)
def test_the_first_numbers_do_not_depend_on_the_count(name: str, dtype: str) -> None:
    function = FLOATS[name]
    seeds = some_seeds(16)
    many = function(seeds, 9, dtype).numpy()
    assert many.dtype == dtype
    for count in (1, 2, 5):
        np.testing.assert_allclose(function(seeds, count, dtype), many[:, :count], rtol=1e-13)


def test_unknown_number_of_rows_and_empty_batches() -> None:
    drawn = tf.function(
        lambda rows: row_normals(rows, 3), input_signature=[tf.TensorSpec([None, 2], tf.int32)]
    )
    assert drawn(some_seeds(5)).shape == (5, 3)
    assert drawn(tf.zeros([0, 2], tf.int32)).shape == (0, 3)


def test_the_same_in_a_session_that_loads_a_saved_model(tmp_path: Path) -> None:
    module = tf.Module()
    signature = tf.function(
        lambda seeds: {
            "bits": row_bits(seeds, 4),
            "normals": row_normals(seeds, 4),
            "gumbels": row_gumbels(seeds, 4),
        },
        input_signature=[tf.TensorSpec([None, 2], tf.int32, name="seeds")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=signature)
    seeds = some_seeds(33)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(tmp_path))
        served = meta.signature_def["serving_default"]
        outputs = {name: info.name for name, info in served.outputs.items()}
        results = session.run(outputs, {served.inputs["seeds"].name: seeds.numpy()})
    np.testing.assert_array_equal(results["bits"], row_bits(seeds, 4))
    np.testing.assert_array_equal(results["normals"], row_normals(seeds, 4))
    np.testing.assert_array_equal(results["gumbels"], row_gumbels(seeds, 4))


def test_uniforms_are_made_of_the_high_bits() -> None:
    seeds = some_seeds(40)
    words = row_bits(seeds, 12).numpy().astype(np.uint64)
    expected = ((words >> np.uint64(9)) + 0.5) / 2**23
    np.testing.assert_array_equal(row_uniforms(seeds, 12, tf.float32), expected.astype(np.float32))
    high, low = words[:, 0::2] >> np.uint64(6), words[:, 1::2] >> np.uint64(6)
    expected = ((high * np.uint64(2**26) + low) + 0.5) / 2.0**52
    np.testing.assert_array_equal(row_uniforms(seeds, 6, tf.float64), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_outermost_words_stay_inside_the_interval(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in (0, 2**32 - 1):
        extreme = tf.constant(word, tf.uint32)
        monkeypatch.setattr(
            "trpo_tf.random.threefry2x32",
            lambda key, counter, word=extreme: tf.fill([1, counter.shape[0], 2], word),
        )
        uniforms = row_uniforms([[0, 0]], 2, dtype).numpy()
        assert (uniforms > 0).all()
        assert (uniforms < 1).all()
        assert np.isfinite(row_normals([[0, 0]], 2, dtype)).all()
        assert np.isfinite(row_gumbels([[0, 0]], 2, dtype)).all()


def box_muller_oracle(words: np.ndarray) -> np.ndarray:
    uniforms = (words.astype(np.float64) + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(uniforms[:, 0::2]))
    angle = 2 * np.pi * uniforms[:, 1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(len(words), -1)


def test_normals_and_gumbels_by_their_formulas() -> None:
    seeds = some_seeds(100)
    words = row_bits(seeds, 8).numpy()
    np.testing.assert_allclose(row_normals(seeds, 8), box_muller_oracle(words), rtol=1e-6)
    uniforms = (words.astype(np.float64) + 0.5) / 2**32
    np.testing.assert_allclose(row_gumbels(seeds, 8), -np.log(-np.log(uniforms)), rtol=1e-6)


CUMULATIVE: dict[str, Callable[[float], float]] = {
    "uniforms": lambda x: x,
    "normals": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)),
    "gumbels": lambda x: math.exp(-math.exp(-x)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FLOATS)
def test_kolmogorov_smirnov(name: str, dtype: str) -> None:
    numbers = np.sort(FLOATS[name](some_seeds(4000, seed=11), 5, dtype).numpy().ravel())
    probabilities = np.array([CUMULATIVE[name](float(number)) for number in numbers])
    steps = np.arange(len(numbers) + 1) / len(numbers)
    distance = max(np.max(steps[1:] - probabilities), np.max(probabilities - steps[:-1]))
    # P(sqrt(n) D > 1.95) is 1e-3; the numbers are fixed by the seed.
    assert distance * math.sqrt(len(numbers)) < 1.95


def test_moments_of_many_normals_in_a_row() -> None:
    normals = row_normals(some_seeds(400), 500, tf.float64).numpy()
    count = normals.size
    assert abs(normals.mean()) < 4 / math.sqrt(count)
    assert abs(normals.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs((normals**3).mean()) < 4 * math.sqrt(15 / count)
    assert abs((normals**4).mean() - 3) < 4 * math.sqrt(96 / count)
    # Columns are streams of their own: no correlation stands out of 500 x 499 / 2.
    correlations = np.corrcoef(normals, rowvar=False)[np.triu_indices(500, 1)]
    assert np.abs(correlations).max() < 6 / math.sqrt(400)
    assert abs(correlations.std() * math.sqrt(400) - 1) < 0.05


@pytest.mark.parametrize("change", [(1, 0), (0, 1), (-(2**31), 0), (1, 1)])
def test_neighbouring_seeds_are_uncorrelated(change: tuple[int, int]) -> None:
    seeds = np.stack([np.arange(3000), np.full(3000, 5)], axis=-1).astype(np.int32)
    neighbours = seeds + np.array(change, np.int32)
    left, right = (row_normals(tf.constant(part), 4).numpy() for part in (seeds, neighbours))
    correlation = np.corrcoef(left.ravel(), right.ravel())[0, 1]
    assert abs(correlation) < 4 / math.sqrt(left.size)
    serial = np.corrcoef(left[:-1].ravel(), left[1:].ravel())[0, 1]
    assert abs(serial) < 4 / math.sqrt(left.size)


@pytest.mark.parametrize("change", [1, 2**31, 2**40])
def test_every_bit_of_the_seed_flips_half_of_the_words(change: int) -> None:
    seeds = np.arange(500, dtype=np.int64)[:, np.newaxis] + np.array([0, 1 << 33])
    flipped = seeds ^ np.array([change & 0xFFFFFFFF, change >> 32])
    first, second = (
        row_bits(tf.constant(part.astype(np.uint32).view(np.int32)), 2).numpy()
        for part in (seeds, flipped)
    )
    share = np.unpackbits((first ^ second).view(np.uint8)).mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(500 * 64)


def test_step_seeds_are_the_cipher_of_environment_and_step() -> None:
    seed = 0x0123456789ABCDEF
    seeds = step_seeds(seed, first_env=3, num_envs=4, first_step=1000, num_steps=5).numpy()
    assert seeds.shape == (5, 4, 2)
    assert seeds.dtype == np.int32
    for step in range(5):
        for env in range(4):
            expected = reference_threefry((0x89ABCDEF, 0x01234567), (3 + env, 1000 + step))
            assert tuple(seeds.view(np.uint32)[step, env].tolist()) == expected


def test_step_seeds_do_not_depend_on_rollouts_or_groups() -> None:
    whole = step_seeds(5, 0, 6, 0, 8).numpy()
    rollouts = [
        np.concatenate([step_seeds(5, env, 3, step, 4) for env in (0, 3)], axis=1)
        for step in (0, 4)
    ]
    np.testing.assert_array_equal(np.concatenate(rollouts), whole)


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.XLA])
def test_step_seeds_while_tracing(execution: Execution) -> None:
    compiled = execution.compile(lambda first_step: step_seeds(5, 2, 3, first_step, 4))
    # int64, because the last steps do not fit into int32.
    for first_step in (0, 17, 2**31 - 2, 2**32 - 4):
        np.testing.assert_array_equal(
            compiled(tf.constant(first_step, tf.int64)), step_seeds(5, 2, 3, first_step, 4)
        )


def test_no_two_rows_of_a_run_share_a_seed() -> None:
    seeds = step_seeds(0, 0, 100, 0, 200).numpy().reshape(-1, 2)
    assert len(np.unique(seeds, axis=0)) == 100 * 200
    other = step_seeds(1, 0, 100, 0, 200).numpy().reshape(-1, 2)
    assert not (seeds == other).all(axis=1).any()


def test_the_last_step_and_environment() -> None:
    seeds = step_seeds(2**64 - 1, 2**32 - 1, 1, 2**32 - 2, 2).numpy().view(np.uint32)
    expected = reference_threefry((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1))
    assert tuple(seeds[1, 0].tolist()) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 1, 0, 1), "seed must be at least 0 and below 2\\^64, got -1"),
        ((2**64, 0, 1, 0, 1), "seed must be at least 0"),
        ((0, -1, 1, 0, 1), "environment numbers must lie between 0 and 2\\^32 - 1"),
        ((0, 0, 1, 2**32, 1), "step numbers must lie between 0 and 2\\^32 - 1"),
        ((0, 0, 1, 0, -1), "step numbers"),
    ],
)
def test_step_seeds_refuse_what_cannot_be_counted(
    arguments: tuple[int, int, int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        step_seeds(*arguments)


@pytest.mark.parametrize("function", [row_bits, *FLOATS.values()])
def test_bad_arguments(function: Callable[..., tf.Tensor]) -> None:
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        function([[1, 2]], 0)
    with pytest.raises(ValueError, match=r"seeds must be int32 of shape \[rows, 2\], got int64"):
        function(tf.constant([[1, 2]], tf.int64), 3)
    with pytest.raises(ValueError, match=r"seeds must be int32 .*got int32 \(2,\)"):
        function([1, 2], 3)


@pytest.mark.parametrize("function", FLOATS.values())
def test_other_dtypes_are_refused(function: Callable[..., tf.Tensor]) -> None:
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got float16"):
        function([[1, 2]], 3, tf.float16)
