"""How much of the environments' raw stepping speed the sampler keeps; prints JSON.

    python -m experiments.speed.collect_ours '{"run": "runs/asynchrony", "num_envs": 16,
        "num_steps": 128, "rollouts": 40}'

Two identically seeded SyncVectorEnvs go through the same steps: one under the sampler, with the
policy of a trained run, the other in a bare loop in one thread with the actions that the sampler
has just sent. They alternate rollout by rollout, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from experiments.speed import beside_raw
from trpo_tf import action_map, load_run
from trpo_tf.environments import make_vector_env
from trpo_tf.samplers import Sampler


def collect(run: str, num_envs: int, num_steps: int, rollouts: int) -> dict[str, float]:
    """Steps that each made, and the seconds of both."""
    env, bare = (make_vector_env("Walker2d-v5", num_envs, "sync") for _ in range(2))
    policy = load_run(run).policy
    sampler = Sampler(env, policy, num_steps=num_steps, seed=0)
    bare.reset(seed=0)

    def sent_actions(collected: Any) -> Any:
        rollout, _ = collected
        space = env.single_action_space
        return action_map.to_env_actions(space, rollout.actions, policy.rescale_actions).numpy()

    seconds = beside_raw.measure(sampler.collect, sent_actions, bare.step, rollouts)
    sampler.close()
    bare.close()
    return {"steps": rollouts * num_steps * num_envs, **seconds}


if __name__ == "__main__":
    print(json.dumps(collect(**json.loads(sys.argv[1]))))
