"""Measures one side of `speed.py` in a process of its own; prints one line of JSON.

    python -m experiments.asynchrony.one_side '{"kind": "train", "run": "…", "settings": {…}}'

"train" trains from the run's weights with these settings; "raw" steps the same environments in a
bare loop with the actions that the run's policy has taken in them before.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from trpo_tf import action_map, assembly, load_run, presets
from trpo_tf.environment_ids import resolve_env_id
from trpo_tf.samplers import Sampler

_WARM_UP = 4


def measure(kind: str, run: str, updates: int, settings: dict[str, Any]) -> dict[str, float]:
    """Steps and seconds, by the clock and of the processors, of so many updates' rollouts."""
    env_id = resolve_env_id(settings["env"])
    config, _ = presets.resolve(env_id, settings | {"env": env_id})
    assembly.set_up_tensorflow(config)
    step = _raw(config, run, updates) if kind == "raw" else _training(config, run)
    for _ in range(_WARM_UP):
        step()
    steps, start, processor = 0, time.perf_counter(), _processor_seconds()
    for _ in range(updates):
        steps += step()
    return {
        "steps": steps,
        "seconds": time.perf_counter() - start,
        "processor_seconds": _processor_seconds() - processor,
    }


def _training(config: Any, run: str) -> Any:
    parts, trained = assembly.assemble(config), load_run(run)
    parts.policy.set_weights(trained.policy.get_weights())
    parts.value_function.set_weights(trained.value_function.get_weights())

    def step() -> int:
        before = parts.sampler.env_steps
        rollout, _ = parts.sampler.collect()
        parts.trpo.update(rollout)
        return parts.sampler.env_steps - before

    return step


def _raw(config: Any, run: str, updates: int) -> Any:
    env = assembly.make_env(config, config.num_envs, config.seed)
    policy = load_run(run).policy
    sampler = Sampler(env, policy, config.num_steps, seed=config.seed)
    recorded = []
    for _ in range(_WARM_UP + updates):
        rollout, _ = sampler.collect()
        sent = action_map.to_env_actions(env.single_action_space, rollout.actions, False)
        recorded.append((sent.numpy(), int(rollout.mask.sum())))
    # The same seed leads through the same episodes again.
    env.reset(seed=config.seed)
    following = iter(recorded)

    def step() -> int:
        actions, steps = next(following)
        for row in actions:
            env.step(row)
        return steps

    return step


def _processor_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
