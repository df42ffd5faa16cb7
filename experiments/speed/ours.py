"""trpo_tf's policy update and critic regression, measured on request (see `serving`).

    python -m experiments.speed.ours

Both are made as a training run makes them (`trpo_tf.assembly`), the normaliser of observations and
the search that fills the trust region included. Beside an update stand the matrix products that it
needs and the time that these take alone (`floor`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from experiments.speed import cases, floor, matrix_rates
from experiments.speed.serving import Work, serve
from trpo_tf import assembly, presets
from trpo_tf.config import TRPOConfig
from trpo_tf.heads import CategoricalHead
from trpo_tf.line_search import Candidate, LineSearch, SearchResult
from trpo_tf.policies import Policy
from trpo_tf.types import Batch

_VECTORS = gym.spaces.Box(-np.inf, np.inf, (cases.OBSERVATION_SIZE,), np.float32)
_IMAGES = gym.spaces.Box(0, 255, cases.IMAGE_SHAPE, np.uint8)
_ACTIONS = gym.spaces.Box(-1, 1, (cases.ACTION_SIZE,), np.float32)


class _Counted:
    """A line search that counts its candidates in `count`, a tf.Variable."""

    def __init__(self, search: LineSearch) -> None:
        self.search = search
        self.count = tf.Variable(0)

    def __call__(
        self, evaluate: Callable[[Any], Candidate], first_step: Any, max_kl: Any
    ) -> SearchResult:
        """The search's own result."""

        def counting(step: Any) -> Candidate:
            self.count.assign_add(1)
            return evaluate(step)

        return self.search(counting, first_step, max_kl)


def update(fields: dict[str, Any]) -> Work:
    """One step of `NaturalGradientOptimizer`; the weights are put back between repetitions."""
    case = cases.update_case(fields)
    # Images take their settings from the preset that trains on them.
    env = "Walker2d-v5" if case.hidden_sizes else "ALE/Pong-v5"
    settings = {"cg_steps": cases.CG_STEPS, "damping": cases.DAMPING, "max_kl": cases.MAX_KL}
    config, _ = presets.resolve(env, {**settings, "hidden_sizes": case.hidden_sizes or (64, 64)})
    rng = np.random.default_rng(0)
    if case.hidden_sizes:
        policy = assembly.make_models(config, _VECTORS, _ACTIONS).policy
        observations = rng.standard_normal((case.rows, cases.OBSERVATION_SIZE), np.float32)
    else:
        policy = _nature_policy()
        observations = rng.integers(0, 256, (case.rows, *cases.IMAGE_SHAPE), np.uint8)
    execution = assembly.choose_execution(config, policy.observation_space)
    optimizer = assembly.make_optimizer(config, execution)
    search = optimizer.line_search = _Counted(optimizer.line_search)
    batch = _batch(policy, observations, rng)
    start = policy.get_weights()
    last = {}

    def run() -> None:
        last["info"] = tf.nest.map_structure(
            lambda scalar: scalar.numpy(), optimizer.step(policy, batch)
        )

    def restore() -> None:
        policy.set_weights(start)
        search.count.assign(0)

    def facts() -> dict[str, Any]:
        iterations, candidates = int(last["info"].cg_iterations), int(search.count)
        products = floor.products(case, iterations, candidates)
        return {
            "accepted": bool(last["info"].accepted),
            "cg_iterations": iterations,
            "candidates": candidates,
            "gflop": floor.gflop(products),
            "square_gflop_per_second": matrix_rates.square_rate(),
            "products_seconds": matrix_rates.seconds(products),
        }

    return Work(run, restore, facts)


def value(fields: dict[str, Any]) -> Work:
    """`ValueRegression.fit`, which goes on from where the last one ended."""
    case = cases.value_case(fields)
    config = TRPOConfig(
        env="Walker2d-v5",
        num_envs=16,
        num_steps=case.rows // 16,
        hidden_sizes=case.hidden_sizes,
        value_epochs=case.epochs,
        value_minibatch_size=case.minibatch_size or 0,
    )
    critic = assembly.make_models(config, _VECTORS, _ACTIONS).value_function
    execution = assembly.choose_execution(config, _VECTORS)
    regression = assembly.make_value_regression(config, execution)
    rng = np.random.default_rng(0)
    observations = tf.constant(rng.standard_normal((case.rows, *_VECTORS.shape), np.float32))
    targets = tf.constant(rng.standard_normal(case.rows, np.float32))
    return Work(lambda: regression.fit(critic, observations, targets).numpy())


def _nature_policy() -> Policy:
    """The peers' convolutions; our own for images are smaller ones (`trpo_tf.torsos`)."""
    layers = [
        keras.layers.Conv2D(filters, kernel, strides=stride, activation="relu")
        for filters, kernel, stride in cases.CONVOLUTIONS
    ]
    torso = keras.Sequential(
        [
            keras.Input(cases.IMAGE_SHAPE, dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            *layers,
            keras.layers.Flatten(),
            keras.layers.Dense(cases.CONVOLUTION_FEATURES, activation="relu"),
        ]
    )
    choices = gym.spaces.Discrete(cases.NUM_CHOICES)
    head = CategoricalHead(cases.NUM_CHOICES, dtype="float32", seed=0)
    policy = Policy(_IMAGES, choices, torso, head, rescale_actions=False, dtype="float32")
    policy(np.zeros((1, *cases.IMAGE_SHAPE), np.uint8))
    return policy


def _batch(policy: Policy, observations: np.ndarray, rng: np.random.Generator) -> Batch:
    """The policy's own actions on these observations, random advantages; β is judged by ratios."""
    parts = []
    for rows in np.array_split(observations, -(-len(observations) // 512)):
        distribution = policy(rows)
        actions = distribution.sample(seed=0)
        parts.append((actions, distribution.log_prob(actions)))
    actions, log_probs = (tf.concat(tensors, 0) for tensors in zip(*parts, strict=True))
    return Batch(
        observations=tf.constant(observations),
        actions=actions,
        advantages=tf.constant(rng.standard_normal(len(observations), np.float32)),
        behaviour_log_probs=log_probs,
        weights=tf.ones(len(observations)),
    )


if __name__ == "__main__":
    serve({"update": update, "value": value})
