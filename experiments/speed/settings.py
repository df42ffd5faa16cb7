"""The settings that trainings are compared with."""

from __future__ import annotations

from typing import Any

from experiments.speed.sides import OURS, SB3, TIANSHOU

ENV = "Walker2d-v5"

EQUAL: dict[str, dict[str, Any]] = {
    OURS: {
        "settings": {
            "num_envs": 8,
            "num_steps": 256,
            "cg_steps": 10,
            "damping": 0.1,
            "value_epochs": 20,
            "value_minibatch_size": 64,
            "vectorization": "sync",
        }
    },
    SB3: {
        "num_envs": 8,
        "settings": {
            "n_steps": 256,
            "cg_max_steps": 10,
            "cg_damping": 0.1,
            "n_critic_updates": 20,
            "batch_size": 64,
        },
    },
    # Ten iterations and a damping of 0.1 are in Tianshou itself; its critic's steps are full-batch.
    TIANSHOU: {"num_envs": 8, "num_steps": 2048, "settings": {"optim_critic_iters": 20}},
}
"""The same environments, rows, network, conjugate gradients and passes of the critic."""

PEERS_OWN: dict[str, dict[str, Any]] = {
    # rl-baselines3-zoo, hyperparams/trpo.yml, Walker2d.
    SB3: {
        "num_envs": 2,
        "settings": {
            "n_steps": 1024,
            "batch_size": 128,
            "gamma": 0.99,
            "gae_lambda": 0.95,
            "sub_sampling_factor": 1,
            "cg_max_steps": 25,
            "cg_damping": 0.1,
            "n_critic_updates": 20,
            "learning_rate": 1e-3,
        },
    },
    # Tianshou, examples/mujoco/mujoco_trpo.py.
    TIANSHOU: {"num_envs": 16, "num_steps": 1024, "settings": {"optim_critic_iters": 20}},
}
"""What each peer's own project trains Walker2d with; ours is `trpo_tf.train --env=Walker2d`."""

PEER_ROWS = {SB3: 2 * 1024, TIANSHOU: 1024}
"""Rows of an update by PEERS_OWN."""

MODULES = {OURS: "train_ours", SB3: "train_sb3", TIANSHOU: "train_tianshou"}
