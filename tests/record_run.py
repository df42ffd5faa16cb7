"""Adds a run directory of this release to tests/data/runs, for test_old_runs.

    python tests/record_run.py

Trains CartPole for a few updates with the real command and keeps what it leaves, without the
picture: the run, the served model, and beside them the answers of the models to a few observations.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import trpo_tf

RUNS = Path(__file__).resolve().parent / "data" / "runs"
SETTINGS = (
    *("--env=CartPole", "--seed=3", "--hidden_sizes=8", "--num_envs=4", "--num_steps=32"),
    *("--total_steps=384", "--checkpoint_every=1", "--keep_checkpoints=2", "--execution=graph"),
)


def model_of(release: str) -> Path:
    """The base directory of the model that a release's run has exported."""
    return RUNS / f"{release}.model"


def answers(run: trpo_tf.Run, observations: Any) -> dict[str, Any]:
    """What the models of a run say."""
    return {
        "logits": run.policy(observations).logits_parameter().numpy().tolist(),
        "values": run.value_function(observations).numpy().tolist(),
    }


def main() -> None:
    kept = RUNS / trpo_tf.__version__
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "trpo_tf.train", *SETTINGS, "--logdir=run"]
        subprocess.run([*command, "--export_dir=model"], cwd=directory, check=True)
        shutil.copytree(
            Path(directory, "run"), kept, ignore=shutil.ignore_patterns(".lock", "*.png")
        )
        shutil.copytree(Path(directory, "model"), model_of(trpo_tf.__version__))
    # Where the program lay is of no concern.
    record = json.loads((kept / "config.json").read_text())
    record["sessions"][0]["command_line"][0] = "train.py"
    (kept / "config.json").write_text(json.dumps(record, indent=1) + "\n")
    env = gym.make("CartPole-v1")
    observations = np.stack([env.reset(seed=seed)[0] for seed in range(5)]) * np.float32(10)
    asked = {
        "observations": observations.tolist(),
        **answers(trpo_tf.load_run(kept), observations),
    }
    kept.with_suffix(kept.suffix + ".json").write_text(json.dumps(asked, indent=1) + "\n")


if __name__ == "__main__":
    main()
