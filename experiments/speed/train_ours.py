"""Trains trpo_tf on equal settings; prints steps and seconds as JSON.

python -m experiments.speed.train_ours '{"env": "Walker2d-v5", "warm_up": 2, "updates": 8,
    "settings": {…}}'
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from trpo_tf.assembly import assemble
from trpo_tf.config import TRPOConfig


def train(env: str, warm_up: int, updates: int, settings: dict[str, Any]) -> dict[str, float]:
    """Steps, seconds and processor seconds of the updates after the warm-up."""
    parts = assemble(TRPOConfig(env=env, **settings))
    steps = collecting = begin = processor = 0.0
    for update in range(warm_up + updates):
        if update == warm_up:
            # Dummy rows of NEXT_STEP autoreset are no steps.
            steps, collecting = parts.sampler.env_steps, 0.0
            begin, processor = time.perf_counter(), time.process_time()
        start = time.perf_counter()
        rollout, _ = parts.sampler.collect()
        collecting += time.perf_counter() - start
        parts.trpo.update(rollout)
    return {
        "steps": parts.sampler.env_steps - steps,
        "seconds": time.perf_counter() - begin,
        "collecting_seconds": collecting,
        "processor_seconds": time.process_time() - processor,
    }


if __name__ == "__main__":
    print(json.dumps(train(**json.loads(sys.argv[1]))))
