"""How fast this machine multiplies matrices, by TensorFlow's own product on all its threads."""

from __future__ import annotations

import time

import tensorflow as tf

from experiments.speed.floor import Product

_SQUARE = 1024
_TRIALS = 5
# Convolutions have more rows than one product's factors should take memory for; a product of this
# many rows runs at the same rate, and its time is scaled.
_MOST_ROWS = 32_768


def square_rate() -> float:
    """Thousand millions of operations a second on large square factors, the best of some trials."""
    product = Product(_SQUARE, _SQUARE, _SQUARE, "", 1)
    return product.operations / _fastest(product) / 1e9


def seconds(needed: list[Product]) -> float:
    """The time that these products take, one after the other, each at its best of some trials."""
    total = 0.0
    for product in needed:
        smaller = _cut(product)
        share = product.operations / smaller.operations
        total += product.times * share * _fastest(smaller)
    return total


def _cut(product: Product) -> Product:
    rows, inner = (min(size, _MOST_ROWS) for size in (product.rows, product.inner))
    return product._replace(rows=rows, inner=inner)


def _fastest(product: Product) -> float:
    first, second = (product.rows, product.inner), (product.inner, product.columns)
    is_first, is_second = (product.transposed == name for name in ("first", "second"))
    a = tf.random.normal(first[::-1] if is_first else first)
    b = tf.random.normal(second[::-1] if is_second else second)
    found = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        tf.raw_ops.MatMul(a=a, b=b, transpose_a=is_first, transpose_b=is_second)
        found.append(time.perf_counter() - start)
    return min(found)
