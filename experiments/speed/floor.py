"""The matrix products that a policy update cannot do without, counted by formula.

A layer of n units on m inputs, N rows, is a product [N, m] × [m, n] of 2·N·m·n operations. Taken
forwards it is needed

- once for the activations, which gradient and Fisher products share,
- twice for each Fisher product, whose tangents are ḣ_out = ḣ_in W + h_in Ẇ (once in the first
  layer, whose inputs have no tangent),
- once for each candidate of the line search;

and backwards, once for the gradient and once for each Fisher product, a product [m, N] × [N, n]
for the weights and, but in the first layer, one [N, n] × [n, m] for the inputs. A convolution is
the layer of its patches: m entries of a patch, n filters, N rows times the places of the filter.

What is not a matrix product (tanh, exponentials, sums, conjugate gradients' own vectors) is not
counted, so the floor lies below what any program could reach.

Standard library only.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from experiments.speed import cases


class Product(NamedTuple):
    """A matrix product [rows, inner] × [inner, columns], so many times.

    Attributes:
        transposed: which factor is read transposed: "", "first" or "second".
    """

    rows: int
    inner: int
    columns: int
    transposed: str
    times: int

    @property
    def operations(self) -> int:
        """Of one such product."""
        return 2 * self.rows * self.inner * self.columns


def products(case: cases.UpdateCase, cg_iterations: int, candidates: int) -> list[Product]:
    """All products of an update with so many Fisher products and candidates."""
    found = []
    for index, (rows, inputs, units) in enumerate(_layers(case)):
        is_inner = index > 0
        forwards = 1 + cg_iterations * (1 + is_inner) + candidates
        backwards = 1 + cg_iterations
        found.append(Product(rows, inputs, units, "", forwards))
        found.append(Product(inputs, rows, units, "first", backwards))
        if is_inner:
            found.append(Product(rows, units, inputs, "second", backwards))
    return found


def gflop(needed: list[Product]) -> float:
    """Thousand millions of floating-point operations."""
    return math.fsum(product.operations * product.times for product in needed) / 1e9


def _layers(case: cases.UpdateCase) -> list[tuple[int, int, int]]:
    """Rows, inputs and units of each layer of the policy's network."""
    if case.hidden_sizes:
        sizes = [cases.OBSERVATION_SIZE, *case.hidden_sizes, cases.ACTION_SIZE]
        return [(case.rows, *pair) for pair in itertools.pairwise(sizes)]
    side, _, channels = cases.IMAGE_SHAPE
    layers = []
    for filters, kernel, stride in cases.CONVOLUTIONS:
        side = (side - kernel) // stride + 1
        layers.append((case.rows * side**2, kernel**2 * channels, filters))
        channels = filters
    layers.append((case.rows, side**2 * channels, cases.CONVOLUTION_FEATURES))
    layers.append((case.rows, cases.CONVOLUTION_FEATURES, cases.NUM_CHOICES))
    return layers
