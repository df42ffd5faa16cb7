"""The card of a published policy: how it came about, what it reaches, how to evaluate and serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.campaign.analysis import digits
from experiments.mujoco.protocol import FINAL_EPISODES, FINAL_SEED
from trpo_tf import LoadedPolicy
from trpo_tf.types import EpisodeStats

_TEMPLATE = Path(__file__).with_name("card_template.md")


def card(
    policy: LoadedPolicy,
    flags: Sequence[str],
    seeds: Sequence[int],
    evaluation: EpisodeStats,
    train_return: float,
) -> str:
    """Writes the card.

    Args:
        policy: the published one.
        flags: that it was trained with.
        seeds: of which it is the median.
        evaluation: its final one.
        train_return: of the stochastic policy at the end of the training.
    """
    training = policy.metadata["training"]
    config = training["config"]
    return _TEMPLATE.read_text(encoding="utf-8").format(
        env=training["env"],
        name=policy.path.parent.name,
        version=policy.path.name,
        networks=_networks(config),
        env_steps=training["env_steps"],
        settings=_settings(training),
        seed=config["seed"],
        seeds=f"seeds {', '.join(str(seed) for seed in seeds)}",
        flags=" ".join(flags),
        episodes=FINAL_EPISODES,
        final_seed=FINAL_SEED,
        final=_spread(evaluation),
        training=f"{train_return:{digits(train_return)}}",
        observations=_shape(policy.observation_space),
        actions=_shape(policy.action_space),
    )


def _networks(config: Mapping[str, Any]) -> str:
    layers = "×".join(str(size) for size in config["hidden_sizes"])
    inside = ", observation normaliser inside" if config["normalize_observations"] else ""
    return f"{layers} {config['activation']}{inside}"


def _settings(training: Mapping[str, Any]) -> str:
    own = [
        f"{name} {training['config'][name]}"
        for name, origin in training["origins"].items()
        if origin.startswith("preset ")
    ]
    return f"the {training['preset']} preset ({', '.join(own)})" if own else "the default settings"


def _spread(evaluation: EpisodeStats) -> str:
    returns = evaluation.returns
    mean, form = returns.mean(), digits(returns.mean())
    extent = f"{returns.min():{form}} to {returns.max():{form}}"
    return f"{mean:{form}} ± {returns.std():{form}} ({extent})"


def _shape(space: Any) -> str:
    return f"[{', '.join(['N', *(str(size) for size in space.shape)])}]"
