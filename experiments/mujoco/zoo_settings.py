"""The TRPO settings of rl-baselines3-zoo (hyperparams/trpo.yml, its MuJoCo tasks); no imports.

`normalize: true` there means that observations and rewards are normalised, the rewards with the
task's own discount; networks are sb3's default (two of 64x64, tanh).
"""

from __future__ import annotations

from typing import Any

NUM_ENVS = 2
_SHARED = {
    "n_steps": 1024,
    "batch_size": 128,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "sub_sampling_factor": 1,
    "cg_max_steps": 25,
    "cg_damping": 0.1,
    "n_critic_updates": 20,
    "learning_rate": 1e-3,
}
_OWN = {"HalfCheetah": {"target_kl": 0.04}, "Swimmer": {"gamma": 0.9999}}


def zoo_settings(task: str) -> dict[str, Any]:
    """Arguments of sb3-contrib's TRPO."""
    return _SHARED | _OWN.get(task, {})
