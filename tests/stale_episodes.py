"""Episodes that one policy drew and another learns from, in processes that linear algebra solves.

The transitions of a state and an action may add up to less than 1: the rest ends the episode.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from oracles import TabularMDP, discounted_visits, exact_advantages, log_softmax, state_values

from trpo_tf.types import Rollout

LAYERS = 3


class StaleEpisodes(NamedTuple):
    """Complete episodes drawn by β, one a column; logits [S, A] are those of π_old."""

    mdp: TabularMDP
    behaviour: np.ndarray
    logits: np.ndarray
    rollout: Rollout

    @property
    def target(self) -> np.ndarray:
        return np.exp(log_softmax(self.logits))

    @property
    def values(self) -> np.ndarray:
        return state_values(self.mdp, self.target)

    @property
    def action_values(self) -> np.ndarray:
        return exact_advantages(self.mdp, self.target) + self.values[:, None]

    @property
    def visits(self) -> np.ndarray:
        """How often an episode of β is expected to come to each state, [S]; not discounted."""
        return discounted_visits(self.mdp._replace(discount=1.0), self.behaviour)

    @property
    def states(self) -> np.ndarray:
        return self.rollout.observations[:-1]

    @property
    def target_log_probs(self) -> np.ndarray:
        return log_softmax(self.logits)[self.states, self.rollout.actions]


class TabularPolicy(keras.Model):
    """States [N] to categoricals; the logits [S, A] are the parameters."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__(dtype="float64")
        self.logits = self.add_weight(shape=logits.shape)
        self.logits.assign(logits)
        self.built = True

    def call(self, observations: Any) -> Any:
        return tfp.distributions.Categorical(logits=tf.gather(self.logits.value, observations))


class TabularCritic(keras.Model):
    """States [N] to values; the values [S] are the parameters."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(dtype="float64")
        self.values = self.add_weight(shape=values.shape)
        self.values.assign(values)
        self.built = True

    def call(self, observations: Any) -> Any:
        return tf.gather(self.values.value, observations)


# --- processes ----------------------------------------------------------------------------------


def layered_mdp(rng: np.random.Generator) -> TabularMDP:
    """Two states a step, two actions, three steps at most; all probabilities are quarters.

    Rewards double with every step, so that what follows an action matters.
    """
    num_states = 2 * LAYERS
    transitions = np.zeros((num_states, 2, num_states))
    for state in range(num_states - 2):
        first = 2 * (state // 2 + 1)
        # One quarter for each next state, two for one of them or for the end, as the action says.
        for action, place in enumerate(rng.permutation(3)[:2]):
            quarters = np.array([1, 1, 0]) + 2 * np.eye(3)[place]
            transitions[state, action, first : first + 2] = quarters[:2] / 4
    initial = np.where(np.arange(num_states) < 2, 0.5, 0.0)
    rewards = rng.normal(size=(num_states, 2)) * 2.0 ** (np.arange(num_states)[:, None] // 2)
    return TabularMDP(transitions, rewards, initial, discount=0.9)


def ending_mdp(rng: np.random.Generator) -> TabularMDP:
    """Five states, three actions; an episode ends after each step with probability 0.3 to 0.6."""
    transitions = rng.dirichlet(np.full(5, 0.3), size=(5, 3)) * rng.uniform(0.4, 0.7, (5, 3, 1))
    return TabularMDP(transitions, rng.normal(size=(5, 3)), rng.dirichlet(np.ones(5)), 0.95)


# --- episodes -----------------------------------------------------------------------------------


def episodes_from(
    mdp: TabularMDP, action_probs: np.ndarray, state: int
) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    """Every way on from a state: its probability and its rows of (state, action)."""
    for action, drawn in enumerate(action_probs[state]):
        row, onward = (state, action), mdp.transitions[state, action]
        if onward.sum() < 1:
            yield drawn * (1 - onward.sum()), [row]
        for next_state in np.flatnonzero(onward):
            for probability, rows in episodes_from(mdp, action_probs, int(next_state)):
                yield drawn * onward[next_state] * probability, [row, *rows]


def every_episode(
    mdp: TabularMDP, action_probs: np.ndarray
) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    for start in np.flatnonzero(mdp.initial):
        for probability, rows in episodes_from(mdp, action_probs, int(start)):
            yield mdp.initial[start] * probability, rows


def enumerated(mdp: TabularMDP, behaviour: np.ndarray, logits: np.ndarray) -> StaleEpisodes:
    """Every episode, as often as its probability says: a mean over columns is an expectation.

    All probabilities must be quarters (of a start: halves), at most LAYERS steps long.
    """
    num_columns = 2 * 4 ** (2 * LAYERS - 1)
    states = np.zeros((LAYERS + 1, num_columns), np.int64)
    actions = np.zeros((LAYERS, num_columns), np.int32)
    mask = np.zeros((LAYERS, num_columns), bool)
    column = 0
    for probability, rows in every_episode(mdp, behaviour):
        copies = probability * num_columns
        assert copies == int(copies)
        places = slice(column, column := column + int(copies))
        for step, (state, action) in enumerate(rows):
            states[step, places], actions[step, places] = state, action
            mask[step, places] = True
    assert column == num_columns
    rewards = mdp.rewards[states[:-1], actions]
    return _stale_episodes(mdp, behaviour, logits, states, actions, mask, rewards)


def sampled(
    mdp: TabularMDP, behaviour: np.ndarray, logits: np.ndarray, num_episodes: int, seed: int
) -> StaleEpisodes:
    """Independent episodes of random length, with noise on the rewards."""
    rng = np.random.default_rng(seed)
    end = len(mdp.initial)
    outcomes = np.concatenate([mdp.transitions, 1 - mdp.transitions.sum(2, keepdims=True)], 2)
    state = rng.choice(end, size=num_episodes, p=mdp.initial)
    states, actions, mask = [state], [], [np.ones(num_episodes, bool)]
    while mask[-1].any():
        action = _choose(rng, behaviour[state])
        following = _choose(rng, outcomes[state, action])
        goes_on = mask[-1] & (following != end)
        state = np.where(goes_on, following, 0)
        states.append(state)
        actions.append(action.astype(np.int32))
        mask.append(goes_on)
    rewards = mdp.rewards[states[:-1], actions] + 0.3 * rng.normal(size=np.shape(actions))
    arrays = (np.array(states), np.array(actions), np.array(mask[:-1]))
    return _stale_episodes(mdp, behaviour, logits, *arrays, rewards)


def _choose(rng: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """One index a row of probabilities [N, K]."""
    bounds = np.cumsum(probabilities[:, :-1], axis=1)
    return np.sum(rng.random((len(probabilities), 1)) >= bounds, axis=1)


def _stale_episodes(
    mdp: TabularMDP,
    behaviour: np.ndarray,
    logits: np.ndarray,
    states: np.ndarray,
    actions: np.ndarray,
    mask: np.ndarray,
    rewards: np.ndarray,
) -> StaleEpisodes:
    goes_on = np.concatenate([mask[1:], np.zeros_like(mask[:1])])
    rollout = Rollout(
        observations=states,
        actions=actions,
        behaviour_log_probs=np.log(behaviour)[states[:-1], actions],
        # Whatever stands behind an episode's end must not matter.
        rewards=np.where(mask, rewards, 100.0),
        terminated=mask & ~goes_on,
        truncated=np.zeros_like(mask),
        mask=mask,
        policy_version=np.zeros(mask.shape, np.int64),
    )
    return StaleEpisodes(mdp, behaviour, logits, rollout)
