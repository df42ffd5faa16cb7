"""Trains sb3-contrib's TRPO with the zoo's settings, in the peers' virtual environment.

    <peers>/bin/python -m experiments.mujoco.zoo_run '{"task": "Walker2d", "seed": 0,
        "total_steps": 1000000, "eval_every": 50000, "directory": "runs/rival/Walker2d-0"}'

Prints what was measured as one line of JSON. Imports nothing of trpo_tf.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.results_plotter import ts2xy
from stable_baselines3.common.vec_env import VecNormalize, sync_envs_normalization

from experiments.mujoco import protocol
from experiments.mujoco.zoo_settings import NUM_ENVS, zoo_settings

# Both numbers of episodes are multiples of it.
_EVAL_ENVS = 5


def run(
    task: str, seed: int, total_steps: int, eval_every: int, directory: str
) -> protocol.Measured:
    """Trains once and measures the returns."""
    torch.set_num_threads(1)
    settings, name = zoo_settings(task), f"{task}-v5"
    for left in Path(directory).glob("*.monitor.csv"):
        left.unlink()
    env = VecNormalize(
        make_vec_env(name, NUM_ENVS, seed, monitor_dir=directory), gamma=settings["gamma"]
    )
    eval_env = VecNormalize(
        make_vec_env(name, _EVAL_ENVS, protocol.FINAL_SEED), training=False, norm_reward=False
    )
    evaluations = EvalCallback(
        eval_env,
        n_eval_episodes=protocol.EVAL_EPISODES,
        eval_freq=eval_every // NUM_ENVS,
        log_path=directory,
        verbose=0,
    )
    model = TRPO("MlpPolicy", env, seed=seed, device="cpu", **settings)
    began = time.perf_counter()
    model.learn(total_steps, callback=evaluations)
    seconds = time.perf_counter() - began
    sync_envs_normalization(env, eval_env)
    returns, _ = evaluate_policy(
        model, eval_env, protocol.FINAL_EPISODES, return_episode_rewards=True
    )
    return protocol.Measured(
        evaluations=_evaluations(Path(directory)),
        final_mean=float(np.mean(returns)),
        final_std=float(np.std(returns)),
        train_return=_training_return(directory),
        env_steps=model.num_timesteps,
        updates=model.num_timesteps // (NUM_ENVS * settings["n_steps"]),
        seconds=seconds,
    )


def _evaluations(directory: Path) -> list[tuple[int, float, float]]:
    with np.load(directory / "evaluations.npz") as found:
        steps, results = found["timesteps"], found["results"]
    moments = zip(steps, results.mean(axis=1), results.std(axis=1), strict=True)
    return [(int(step), float(mean), float(std)) for step, mean, std in moments]


def _training_return(directory: str) -> float:
    steps, returns = ts2xy(load_results(directory), "timesteps")
    return float(np.mean(returns[steps > (1 - protocol.LAST_SHARE) * steps[-1]]))


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))._asdict()))
