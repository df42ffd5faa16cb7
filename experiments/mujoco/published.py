"""Published returns of TRPO and NPG after a million steps; each source has its own protocol."""

from __future__ import annotations

from typing import NamedTuple

SB3 = "sb3-contrib"
TIANSHOU = "Tianshou"
ENGSTROM = "Engstrom"
ZOO = "zoo"
PROTOCOLS = {
    SB3: "docs/modules/trpo.md: zoo evaluation, deterministic, -v3 tasks, 3 seeds",
    TIANSHOU: "examples/mujoco/README.md: the largest value over training of the mean over 10 "
    "seeds, 10 stochastic episodes, -v3 tasks; its better of TRPO and NPG",
    ENGSTROM: "Engstrom et al. 2020, TRPO+",
    ZOO: "rl-baselines3-zoo, benchmark.md: one run, deterministic, -v3 tasks",
}


class Published(NamedTuple):
    """A mean, its standard deviation over seeds where one is given, and whose it is."""

    mean: float
    deviation: float | None
    source: str


SEVERAL_SEEDS = {
    "Walker2d": Published(4502, 234, SB3),
    "Hopper": Published(3372, 215, SB3),
    "HalfCheetah": Published(4471, 805, TIANSHOU),
    "Ant": Published(3554, 591, SB3),
    "Swimmer": Published(359, 2, SB3),
    "Humanoid": Published(810, 126, TIANSHOU),
    "Reacher": Published(-4.5, 0.5, TIANSHOU),
    "InvertedPendulum": Published(1000, 0, TIANSHOU),
    "InvertedDoublePendulum": Published(9243, 276, TIANSHOU),
}
OTHERS = {
    "Walker2d": Published(4933, None, ZOO),
    "Hopper": Published(3618, None, ZOO),
    "Ant": Published(4982, None, ZOO),
    "Swimmer": Published(366, None, ZOO),
    "Humanoid": Published(1030, None, ENGSTROM),
}
