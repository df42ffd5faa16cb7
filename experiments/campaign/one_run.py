"""Trains once and evaluates; prints the result as one line of JSON.

    python -m experiments.campaign.one_run '{"settings": {"env": "Walker2d", "seed": 0}, "lag": 4}'

`settings` override the environment's preset. `lag` makes the behaviour policy that many updates old
(the sampler acts with the snapshot of so many updates ago). Two returns are measured: that of the
stochastic policy in the last tenth of the training, and that of the deterministic policy in 20
episodes of separate environments after it.
"""

from __future__ import annotations

import collections
import json
import sys
from typing import Any

import numpy as np

from trpo_tf import assembly, environments, presets
from trpo_tf.environment_ids import resolve_env_id
from trpo_tf.evaluation import deterministic_actor, evaluate
from trpo_tf.samplers import take_snapshot
from trpo_tf.types import EpisodeStats, Rollout

_CURVE_POINTS = 50
_LAST_SHARE = 0.1
_EPISODES = 20
_AVERAGED = ("policy_lag", "behaviour_kl", "effective_sample_size", "max_kl", "kl", "accepted")


class LaggedSampler:
    """Collects with the snapshot of `lag` updates ago."""

    def __init__(self, sampler: Any, lag: int) -> None:
        self.sampler = sampler
        self._snapshots: Any = collections.deque(maxlen=lag + 1)

    def collect(self) -> tuple[Rollout, EpisodeStats]:
        """The next rollout; the first ones are drawn by the first policy."""
        self._snapshots.append(take_snapshot(self.sampler.policy))
        return self.sampler.collect(self._snapshots[0])


def run(settings: dict[str, Any], lag: int | None = None) -> dict[str, Any]:
    """Trains with these settings and measures the returns."""
    env_id = resolve_env_id(settings["env"])
    config, _ = presets.resolve(env_id, settings | {"env": env_id})
    assembly.set_up_tensorflow(config)
    parts = assembly.assemble(config)
    collect = parts.sampler.collect if lag is None else LaggedSampler(parts.sampler, lag).collect
    ends: list[tuple[int, float]] = []
    infos = []
    while parts.sampler.env_steps < config.total_steps:
        rollout, episodes = collect()
        infos.append(parts.trpo.update(rollout))
        ends += [(parts.sampler.env_steps, value) for value in episodes.returns]
    env_steps = parts.sampler.env_steps
    parts.sampler.close()
    evaluation = evaluate(
        deterministic_actor(parts.policy),
        lambda: environments.make_env(config.env, config.env_kwargs),
        _EPISODES,
        seed=1000,
    )
    averages = {
        name: float(np.mean([float(getattr(info, name)) for info in infos])) for name in _AVERAGED
    }
    return {
        "env_steps": env_steps,
        "updates": len(infos),
        "train_return": _mean_between(ends, (1 - _LAST_SHARE) * env_steps, env_steps),
        "eval_mean": float(np.mean(evaluation.returns)),
        "eval_std": float(np.std(evaluation.returns)),
        **averages,
        "curve": [
            (round(end), _mean_between(ends, end - config.total_steps / _CURVE_POINTS, end))
            for end in np.linspace(0, config.total_steps, _CURVE_POINTS + 1)[1:]
        ],
    }


def _mean_between(ends: list[tuple[int, float]], after: float, until: float) -> float | None:
    """The mean return of the episodes that ended in a span of steps."""
    returns = [value for step, value in ends if after < step <= until]
    return float(np.mean(returns)) if returns else None


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
