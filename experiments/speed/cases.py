"""The sizes at which a single update and a single value regression are timed.

Standard library only: the peers' environment reads this too.
"""

from __future__ import annotations

import dataclasses
from typing import Any

OBSERVATION_SIZE, ACTION_SIZE = 17, 6
IMAGE_SHAPE, NUM_CHOICES = (84, 84, 4), 6
CG_STEPS, DAMPING, MAX_KL = 10, 0.1, 0.01

# Filters, kernel and stride, then units: NatureCNN (Mnih et al. 2015), what sb3-contrib takes.
CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
CONVOLUTION_FEATURES = 512


@dataclasses.dataclass(frozen=True)
class UpdateCase:
    """One policy update.

    Attributes:
        rows: of the batch.
        hidden_sizes: units of the tanh layers; empty for images and convolutions.
        repetitions: of which an alternation takes the median.
    """

    rows: int
    hidden_sizes: tuple[int, ...]
    repetitions: int

    @property
    def name(self) -> str:
        """As in the results."""
        network = "x".join(map(str, self.hidden_sizes)) or "convolutional"
        return f"{self.rows} rows, {network}"


@dataclasses.dataclass(frozen=True)
class ValueCase:
    """One fit of the critic.

    Attributes:
        name: as in the results.
        rows: of the batch.
        hidden_sizes: units of the tanh layers.
        epochs: passes over the rows.
        minibatch_size: rows of a gradient step; None: all.
        sides: who works that way.
        repetitions: of which an alternation takes the median.
    """

    name: str
    rows: int
    hidden_sizes: tuple[int, ...]
    epochs: int
    minibatch_size: int | None
    sides: tuple[str, ...]
    repetitions: int


UPDATES = (
    UpdateCase(2048, (64, 64), 15),
    UpdateCase(8192, (64, 64), 7),
    UpdateCase(25_000, (64, 64), 3),
    UpdateCase(100_000, (64, 64), 1),
    UpdateCase(2048, (256, 256), 7),
    UpdateCase(8192, (256, 256), 3),
    UpdateCase(25_000, (256, 256), 1),
    UpdateCase(100_000, (256, 256), 1),
    UpdateCase(512, (), 1),
    UpdateCase(2048, (), 1),
)

VALUES = (
    ValueCase("640 minibatches of 64", 2048, (64, 64), 20, 64, ("trpo_tf", "sb3-contrib"), 5),
    ValueCase("20 full-batch steps", 2048, (64, 64), 20, None, ("trpo_tf", "tianshou"), 9),
)


def update_case(fields: dict[str, Any]) -> UpdateCase:
    """A case back from JSON."""
    return UpdateCase(**{**fields, "hidden_sizes": tuple(fields["hidden_sizes"])})


def value_case(fields: dict[str, Any]) -> ValueCase:
    """A case back from JSON."""
    tuples = {name: tuple(fields[name]) for name in ("hidden_sizes", "sides")}
    return ValueCase(**{**fields, **tuples})
