"""Trains trpo_tf for some steps with given settings; prints seconds and peak memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

from trpo_tf.assembly import assemble
from trpo_tf.config import TRPOConfig


def main() -> None:
    settings = json.loads(sys.argv[1])
    num_envs, num_steps = settings["num_envs"], settings["num_steps"]
    config = TRPOConfig(
        env="Walker2d",
        num_envs=num_envs,
        num_steps=num_steps,
        cg_steps=settings["cg_steps"],
        value_epochs=settings["critic_epochs"],
        value_minibatch_size=settings["critic_minibatch"],
        vectorization="sync",
    )
    parts = assemble(config)
    collecting = learning = 0.0
    for update in range(settings["warm_up_updates"] + settings["updates"]):
        if update == settings["warm_up_updates"]:
            collecting = learning = 0.0
            # Dummy rows of NEXT_STEP autoreset are no steps.
            steps_before = parts.sampler.env_steps
        start = time.perf_counter()
        rollout, _ = parts.sampler.collect()
        collected = time.perf_counter()
        parts.trpo.update(rollout)
        collecting += collected - start
        learning += time.perf_counter() - collected
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    steps = parts.sampler.env_steps - steps_before
    seconds = {"collecting": collecting, "learning": learning}
    print(json.dumps(seconds | {"steps": steps, "peak_mib": memory}))


if __name__ == "__main__":
    main()
