"""Random numbers from per-row seeds: a counter-based generator in plain TensorFlow ops.

``tf.random.stateless_*`` draws other numbers under XLA than without, and takes one seed for a
whole batch, so that a server which merges requests would give one client another client's noise.
Here every row has a seed of its own, and the generator, Threefry-2x32 with 20 rounds, is made of
uint32 additions, shifts and exclusive ors: the same seed gives the same bits eagerly, in a graph,
under XLA and in a session that loads a SavedModel, alone or in any batch.

Block i of a row is the cipher of the counter (i, 0) under the row's seed; it holds two words. The
first k numbers of a row do not depend on how many are asked for. Uniform, normal and Gumbel
numbers of one seed are made of the same words: give unrelated quantities unrelated seeds.
"""

from __future__ import annotations

import math

import tensorflow as tf

_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_INJECTIONS = 5  # one after every four rounds: 20 rounds
_COUNTER_LIMIT = 2**32


def threefry2x32(key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    """Enciphers counters with Threefry-2x32, 20 rounds, the generator behind every draw.

    For each key a bijection of the counters. Source: Salmon, Moraes, Dror and Shaw, "Parallel
    random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3; rotations and parity constant are
    those of the authors' Random123, whose published known answers this reproduces.

    Args:
        key: [..., 2] uint32.
        counter: [..., 2] uint32; its leading dimensions broadcast against the key's.

    Returns:
        [..., 2] uint32.

    Example:
        >>> zeros = tf.zeros([2], tf.uint32)
        >>> [hex(word) for word in threefry2x32(zeros, zeros).numpy()]
        ['0x6b200159', '0x99ba4efe']
    """
    keys = tf.unstack(key, num=2, axis=-1)
    keys.append(_xor(_xor(keys[0], keys[1]), tf.constant(_PARITY, tf.uint32)))
    first, second = tf.unstack(counter, num=2, axis=-1)
    first, second = first + keys[0], second + keys[1]
    for injection in range(1, _KEY_INJECTIONS + 1):
        for rotation in _ROTATIONS[(injection - 1) % 2]:
            first = first + second
            second = _xor(_rotate_left(second, rotation), first)
        first = first + keys[injection % 3]
        second = second + keys[(injection + 1) % 3] + tf.constant(injection, tf.uint32)
    return tf.stack([first, second], axis=-1)


def row_bits(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """Random 32-bit words, each row's from its own seed.

    Args:
        seeds: [N, 2] int32; any bit pattern is a seed, N may be unknown.
        count: words a row, at least 1.

    Returns:
        [N, count] uint32.

    Raises:
        ValueError: if `count` is below 1 or `seeds` is not [N, 2] int32.

    Example:
        >>> row_bits([[0, 0], [0, 1]], 2).numpy()
        array([[1797259609, 2579123966],
               [ 507451445, 1853169794]], dtype=uint32)
    """
    _check_count(count)
    words = _blocks(seeds, (count + 1) // 2)
    return tf.reshape(words, [-1, words.shape[1] * 2])[:, :count]


def row_uniforms(seeds: tf.Tensor, count: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Uniform numbers strictly between 0 and 1, each row's from its own seed.

    (k + 1/2) / 2^b for a b-bit integer k: symmetric about 1/2, exact in the dtype, hence never 0
    or 1 and bit for bit the same however it is run. b is 23 for float32 (one word a number, its
    high bits) and 52 for float64 (two words a number, the high 26 bits of each).

    Args:
        seeds: [N, 2] int32.
        count: numbers a row, at least 1.
        dtype: float32 or float64.

    Returns:
        [N, count] of `dtype`.

    Raises:
        ValueError: for a `count` below 1, another dtype, or seeds that are not [N, 2] int32.

    Example:
        >>> row_uniforms([[1, 2]], 2).numpy().round(3)
        array([[0.146, 0.546]], dtype=float32)
    """
    dtype = _float_dtype(dtype)
    if dtype == tf.float64:
        return _wide_uniforms(seeds, count)
    high_bits = tf.bitwise.right_shift(row_bits(seeds, count), tf.constant(9, tf.uint32))
    return (tf.cast(high_bits, dtype) + 0.5) * 2.0**-23


def row_normals(seeds: tf.Tensor, count: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Standard normal numbers, each row's from its own seed, by Box and Muller's transform.

        z_{2i} = sqrt(-2 ln u_{2i}) cos(2 pi u_{2i+1}),    z_{2i+1} = the same with sin

    It is evaluated in float64 and rounded once, so that float32 numbers come out the same bit for
    bit in eager, graph and XLA execution and in every batch (logarithm and cosine differ between
    these in the last bits of float64, which the rounding removes but for about one number in 10^8);
    float64 numbers agree to about 1e-15. float32 takes one word a uniform number, |z| < 6.77;
    float64 takes two, |z| < 8.58.

    Source: Box and Muller, "A note on the generation of random normal deviates" (1958).

    Args:
        seeds: [N, 2] int32.
        count: numbers a row, at least 1.
        dtype: float32 or float64.

    Returns:
        [N, count] of `dtype`.

    Raises:
        ValueError: for a `count` below 1, another dtype, or seeds that are not [N, 2] int32.

    Example:
        >>> row_normals([[1, 2], [3, 4]], 3).numpy().round(2)
        array([[-1.88, -0.55, -0.23],
               [ 1.59,  0.34, -0.84]], dtype=float32)
    """
    dtype = _float_dtype(dtype)
    _check_count(count)
    num_pairs = (count + 1) // 2
    pairs = tf.reshape(_fine_uniforms(seeds, 2 * num_pairs, dtype), [-1, num_pairs, 2])
    radius = tf.sqrt(-2.0 * tf.math.log(pairs[..., 0]))
    angle = 2.0 * math.pi * pairs[..., 1]
    normals = tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)
    return tf.cast(tf.reshape(normals, [-1, 2 * num_pairs])[:, :count], dtype)


def row_gumbels(seeds: tf.Tensor, count: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Standard Gumbel numbers -ln(-ln u), each row's from its own seed.

    The argmax of logits plus Gumbel numbers is a draw from their categorical distribution
    (Maddison, Tarlow and Minka, "A* sampling", NIPS 2014, section 2). Evaluated in float64 and
    rounded once, like `row_normals`.

    Args:
        seeds: [N, 2] int32.
        count: numbers a row, at least 1.
        dtype: float32 or float64.

    Returns:
        [N, count] of `dtype`.

    Raises:
        ValueError: for a `count` below 1, another dtype, or seeds that are not [N, 2] int32.

    Example:
        >>> row_gumbels([[1, 2]], 2).numpy().round(2)
        array([[-0.65,  0.5 ]], dtype=float32)
    """
    dtype = _float_dtype(dtype)
    uniforms = _fine_uniforms(seeds, count, dtype)
    return tf.cast(-tf.math.log(-tf.math.log(uniforms)), dtype)


def step_seeds(
    seed: int, first_env: int, num_envs: int, first_step: int | tf.Tensor, num_steps: int
) -> tf.Tensor:
    """Seeds of the rows (step, environment) of a run.

    The cipher of the counter (environment, step) under the run's seed: a row's seed depends on
    these three alone, not on how steps are cut into rollouts or environments into groups, and no
    two rows of a run share one.

    Args:
        seed: the run's, from 0 to 2^64 - 1.
        first_env: index of the first environment.
        num_envs: B.
        first_step: steps that each environment has taken before; in a traced function a scalar
            int64 tensor, which is not checked.
        num_steps: T.

    Returns:
        [T, B, 2] int32.

    Raises:
        ValueError: if an argument is negative, the seed is 2^64 or more, or an index is 2^32 or
            more.

    Example:
        >>> rows = step_seeds(seed=7, first_env=0, num_envs=3, first_step=100, num_steps=2)
        >>> rows.shape.as_list()
        [2, 3, 2]
        >>> bool(tf.reduce_all(step_seeds(7, 2, 1, 101, 1)[0, 0] == rows[1, 2]))
        True
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be at least 0 and below 2^64, got {seed}.")
    envs = _counter_range("environment", first_env, num_envs)
    steps = _counter_range("step", first_step, num_steps)
    counters = tf.stack(tf.meshgrid(envs, steps), axis=-1)
    key = tf.constant([seed % 2**32, seed // 2**32], tf.uint32)
    return tf.bitcast(threefry2x32(key, counters), tf.int32)


def _counter_range(name: str, first: int | tf.Tensor, count: int) -> tf.Tensor:
    if not tf.is_tensor(first) and (first < 0 or count < 0 or first + count > _COUNTER_LIMIT):
        raise ValueError(
            f"{name} numbers must lie between 0 and 2^32 - 1, got {count} from {first} on."
        )
    return tf.cast(first + tf.range(count, dtype=tf.int64), tf.uint32)


def _blocks(seeds: tf.Tensor, num_blocks: int) -> tf.Tensor:
    seeds = tf.convert_to_tensor(seeds)
    if seeds.dtype != tf.int32 or seeds.shape.rank != 2 or seeds.shape[1] != 2:
        raise ValueError(
            f"seeds must be int32 of shape [rows, 2], got {seeds.dtype.name} {seeds.shape}."
        )
    indices = tf.range(num_blocks, dtype=tf.int32)
    counters = tf.bitcast(tf.stack([indices, tf.zeros_like(indices)], axis=-1), tf.uint32)
    return threefry2x32(tf.bitcast(seeds, tf.uint32)[:, tf.newaxis], counters)


def _fine_uniforms(seeds: tf.Tensor, count: int, dtype: tf.DType) -> tf.Tensor:
    """float64 uniforms for a result of `dtype`: one whole word each if it is float32."""
    if dtype == tf.float64:
        return _wide_uniforms(seeds, count)
    return (tf.cast(row_bits(seeds, count), tf.float64) + 0.5) * 2.0**-32


def _wide_uniforms(seeds: tf.Tensor, count: int) -> tf.Tensor:
    _check_count(count)
    halves = tf.bitwise.right_shift(_blocks(seeds, count), tf.constant(6, tf.uint32))
    high, low = tf.unstack(tf.cast(halves, tf.float64), axis=-1)
    return (high * 2.0**26 + low + 0.5) * 2.0**-52


def _rotate_left(words: tf.Tensor, bits: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(words, tf.constant(bits, tf.uint32))
    right = tf.bitwise.right_shift(words, tf.constant(32 - bits, tf.uint32))
    return tf.bitwise.bitwise_or(left, right)


def _xor(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(left, right)


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}.")


def _float_dtype(dtype: tf.DType) -> tf.DType:
    dtype = tf.as_dtype(dtype)
    if dtype not in (tf.float32, tf.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype.name}.")
    return dtype
