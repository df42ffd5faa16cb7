"""The zoo's TRPO on classic control and Box2D (rl-baselines3-zoo, benchmark.md): one run each.

Its LunarLander tasks were -v2. It evaluates the deterministic policy for 150,000 steps.
"""

from __future__ import annotations

from typing import NamedTuple


class Benchmark(NamedTuple):
    """What the zoo reached.

    Attributes:
        total_steps: environment steps that it trained for.
        mean: return over its episodes.
        deviation: the same.
        is_bar: whether ours is measured by it: not where it explored by gSDE, which ours lacks.
    """

    total_steps: int
    mean: float
    deviation: float
    is_bar: bool = True


ZOO = {
    "CartPole-v1": Benchmark(100_000, 500.0, 0.0),
    "Acrobot-v1": Benchmark(100_000, -83.1, 18.6),
    "MountainCar-v0": Benchmark(100_000, -107.3, 13.2),
    "MountainCarContinuous-v0": Benchmark(50_000, 92.5, 0.4, is_bar=False),
    "Pendulum-v1": Benchmark(100_000, -174.6, 127.6, is_bar=False),
    "LunarLander-v3": Benchmark(200_000, 133.2, 112.2),
    "LunarLanderContinuous-v3": Benchmark(200_000, 262.4, 21.4),
    "BipedalWalker-v3": Benchmark(1_000_000, 182.3, 145.6),
}
