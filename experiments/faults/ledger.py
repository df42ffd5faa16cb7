"""Books every transition of the rollouts of `LifeEnv`s, and refuses whatever does not add up."""

from __future__ import annotations

import numpy as np

from experiments.faults.life_env import Place, end_of, episode_length
from trpo_tf.types import Rollout


class Ledger:
    """All transitions so far.

    Attributes:
        transitions: (life, episode, step) of each.
    """

    def __init__(self) -> None:
        self.transitions: set[tuple[float, float, float]] = set()
        self._last_steps: dict[float, tuple[float, float]] = {}

    @property
    def lives(self) -> int:
        """Environments that have made a transition."""
        return len(self._last_steps)

    def book(self, rollout: Rollout) -> None:
        """Adds a rollout.

        Raises:
            AssertionError: a transition that was there before, leads to another life, episode or
                step than it must, skips steps, carries another reward or action, or is an
                episode's end where there is none, or none where there is, or of the other kind.
        """
        rows, columns = np.nonzero(rollout.mask)
        befores = rollout.observations[rows, columns]
        afters = rollout.observations[rows + 1, columns]
        actions = np.clip(rollout.actions[rows, columns, 0], -10, 10).astype(np.float32)
        assert np.array_equal(afters[:, Place._fields.index("action")], actions)
        assert np.array_equal(
            rollout.rewards[rows, columns], afters[:, Place._fields.index("step")]
        )
        ends = zip(rollout.terminated[rows, columns], rollout.truncated[rows, columns], strict=True)
        for after, end in zip(afters, ends, strict=True):
            place = Place(*after)
            assert end == end_of(place.episode, place.step), f"{place} has the end {end}"
        # Two parts of one worker may stand beside each other in any order.
        for row in np.lexsort(afters.T[::-1]):
            self._book_one(Place(*befores[row]), Place(*afters[row]))

    def _book_one(self, before: Place, after: Place) -> None:
        expected = before._replace(step=before.step + 1, action=after.action)
        assert after == expected, f"{before} leads to {after}"
        name = (after.life, after.episode, after.step)
        assert name not in self.transitions, f"twice: {after}"
        self.transitions.add(name)
        # Nothing of a life is left out between its first transition and its last.
        last = self._last_steps.get(after.life, (-1.0, episode_length(-1)))
        is_over = last[1] == episode_length(last[0])
        following = (last[0] + 1, 1.0) if is_over else (last[0], last[1] + 1)
        assert (after.episode, after.step) == following, f"{after} comes after {last}"
        self._last_steps[after.life] = (after.episode, after.step)
