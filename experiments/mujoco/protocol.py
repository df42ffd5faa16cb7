"""What both sides of the comparison are put through, and what comes out. No trpo_tf here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

TASKS = (
    "Walker2d",
    "Hopper",
    "HalfCheetah",
    "Ant",
    "Swimmer",
    "Humanoid",
    "Reacher",
    "Pusher",
    "InvertedPendulum",
    "InvertedDoublePendulum",
)
TOTAL_STEPS = 1_000_000
EVAL_EVERY = 50_000
EVAL_EPISODES = 10
FINAL_EPISODES = 20
FINAL_SEED = 1000
LAST_SHARE = 0.1


class Measured(NamedTuple):
    """What is measured of one run.

    Attributes:
        evaluations: of the deterministic policy: environment steps so far, mean and standard
            deviation over `EVAL_EPISODES`.
        final_mean: of the deterministic policy after the training, over `FINAL_EPISODES`.
        final_std: the same.
        train_return: mean of the stochastic policy's episodes in the last tenth of the training.
        env_steps: of the whole training.
        updates: of the policy.
        seconds: of the training with its evaluations.
    """

    evaluations: Sequence[tuple[int, float, float]]
    final_mean: float
    final_std: float
    train_return: float
    env_steps: int
    updates: int
    seconds: float


def evaluation_rows(measured: Measured) -> list[dict[str, Any]]:
    """One row an evaluation."""
    return [
        {"env_steps": steps, "eval_mean": mean, "eval_std": std, "episodes": EVAL_EPISODES}
        for steps, mean, std in measured.evaluations
    ]


def result_row(measured: Measured) -> dict[str, Any]:
    """One row for the run."""
    return {
        "final_mean": measured.final_mean,
        "final_std": measured.final_std,
        "best_over_training": max(mean for _, mean, _ in measured.evaluations),
        "train_return": measured.train_return,
        "env_steps": measured.env_steps,
        "updates": measured.updates,
        "seconds": measured.seconds,
    }
