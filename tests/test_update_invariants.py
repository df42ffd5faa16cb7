"""The promise of a trust region, over hundreds of random and hostile updates.

Every accepted step keeps the mean KL under its bound and the surrogate from falling; every refused
one leaves each variable as it was, bit for bit. `experiments/faults/updates.py` makes thousands,
over all combinations.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from random_updates import COMBINATIONS, VIOLATIONS, Combination, RandomUpdates

from trpo_tf.execution import Execution
from trpo_tf.types import StepStatus

UPDATES = 30
# Most of the kinds and of the ways to step, as compiling takes time; experiments/faults has all.
SHORT = {
    "gaussian-64x64-128": UPDATES,
    "gaussian-linear-3-damping=0.001": UPDATES,
    "gaussian-8-64-damping=0.0-cg_steps=25": 2 * UPDATES,
    "gaussian-8-20-execution=eager": 4,
    "state_dependent_gaussian-8-40-fisher_fraction=0.2": UPDATES,
    "categorical-16-64-damping=0.001": 2 * UPDATES,
    "multi_discrete-8x8-33-chunk_rows=8": UPDATES,
    "multi_binary-8-1": UPDATES,
    "dict_observations-16-50-backtracking": UPDATES,
    "full_gaussian-16-256-activation=gelu-execution=graph": UPDATES,
    "beta-8-40-dtype=float64-execution=graph": UPDATES,
    "masked_categorical-8-30-execution=graph": UPDATES,
}


@pytest.mark.parametrize("name", SHORT)
def test_random_updates(name: str) -> None:
    (combination,) = (one for one in COMBINATIONS if one.name == name)
    updates = RandomUpdates(combination, seed=1)
    statuses: Counter[StepStatus] = Counter()
    for number in range(SHORT[name]):
        verdict = updates.update(number)
        violations = [field for field in VIOLATIONS if getattr(verdict, field)]
        assert not violations, f"update {number}: {verdict}"
        statuses[verdict.status] += 1
    assert statuses[StepStatus.ACCEPTED] >= SHORT[name] // 3, statuses


def test_combinations_are_as_many_as_promised() -> None:
    assert len(COMBINATIONS) >= 40
    assert len({combination.name for combination in COMBINATIONS}) == len(COMBINATIONS)
    assert max(combination.num_rows for combination in COMBINATIONS) == 4096
    assert sum(one.execution is Execution.EAGER for one in COMBINATIONS) == 1
    assert sum(SHORT.values()) >= 300


def test_a_step_that_breaks_its_promises_is_found_out() -> None:
    """The judge itself: a step twice as long as the one taken, and one the other way."""
    updates = RandomUpdates(Combination("gaussian", (8,), 64, execution=Execution.GRAPH), seed=0)
    step = updates.optimizer.step

    def stretched(factor: float) -> list[str]:
        def wrong_step(policy, batch, max_kl):
            before = policy.get_weights()
            info = step(policy, batch, max_kl=max_kl)
            after = policy.get_weights()
            policy.set_weights(
                [old + factor * (new - old) for old, new in zip(before, after, strict=True)]
            )
            return info

        updates.optimizer.step = wrong_step
        with np.errstate(all="ignore"):
            verdict = next(v for v in map(updates.update, range(50)) if v.status == 0)
        return [name for name in VIOLATIONS if getattr(verdict, name)]

    assert stretched(1.0) == []
    assert stretched(2.0) == ["kl_violated"]
    assert "not_ascending" in stretched(-1.0)
    assert "surrogate_worse" in stretched(-1.0)
    assert "non_finite" in stretched(float("inf"))
