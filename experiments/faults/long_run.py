"""Ten million steps with the asynchronous sampler: does anything grow, does anything slow down?

    python -m experiments.faults.long_run [--total_steps=10000000] [--logdir=runs/long]

The training command runs in a process of its own, with checkpoints and evaluations. Beside it its
memory, file handles and threads are read now and then, and how fast identical environments are
stepped by nothing but a loop, in the same seconds: what else the machine does slows both down.
Leaves `long_run.csv` and `long_run.png` and prints whether the criteria are met; the exit status is
1 if one is not, and if the training failed, left processes or made fewer steps than were asked for.
Linux only.
"""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from experiments.campaign.revision import PACKAGE, code_revision
from experiments.faults import left_behind
from experiments.faults.outcome import Outcome
from experiments.faults.training import Training
from trpo_tf import environments

_TOTAL = flags.DEFINE_integer("total_steps", 10_000_000, "Environment steps.")
_LOGDIR = flags.DEFINE_string("logdir", "runs/long", "Where the run is left; must not exist.")
_OUT = flags.DEFINE_string("out", str(Path(__file__).parent), "Where CSV file and picture go.")
_SAMPLES = flags.DEFINE_integer("samples", 200, "How often to look, about.")

ENV, NUM_ENVS = "CartPole-v1", 16
SETTINGS: dict[str, Any] = {
    "env": ENV,
    "sampler": "async",
    "vectorization": "native",
    "num_envs": NUM_ENVS,
    "num_steps": 128,
    "hidden_sizes": "32,32",
    "value_epochs": 2,
    "value_minibatch_size": 256,
    "intra_op_threads": 1,
    "eval_every": 100_000,
    "eval_episodes": 2,
}
# Bare stepping is measured most of the time: what else the machine does changes by the second.
_RAW_SECONDS, _PAUSE_SECONDS = 1.0, 0.1
# Memory is compared with what it was after this share of the run; speed with the share before.
_SETTLED = 0.2
# The last look must not come before this share of it.
_END = 0.95
_MOST_MEMORY = 1.02
_MOST_SLOWER = 0.1
_RESAMPLES = 10_000


class Sample(NamedTuple):
    """One look at the training.

    Attributes:
        seconds: since its process started.
        env_steps: that it has made.
        resident_mib: its memory.
        handles, threads: how many it has. A file that is being written is a handle for a moment: it
            is the fewer of two counts, before and after the bare stepping.
        steps_per_second: since the look before.
        raw_steps_per_second: of bare stepping in the same time.
    """

    seconds: float
    env_steps: int
    resident_mib: float
    handles: int
    threads: int
    steps_per_second: float
    raw_steps_per_second: float


def watch(training: Training, logdir: Path, path: Path, asked: int, looks: int) -> list[Sample]:
    """Looks at a training about so many times, until it has made all of its steps.

    What follows them, the export and its proof in another process, is no part of what may not grow.
    """
    bare = BareStepping()
    samples: list[Sample] = []
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Sample._fields, "revision"])
        revision = code_revision(PACKAGE)
        last = (0.0, 0)

        def is_due() -> bool:
            return steps_made(logdir) >= last[1] + asked // looks

        while training.wait_until(is_due, _PAUSE_SECONDS, math.inf):
            handles = handles_of(training.process.pid)
            raw = bare.measure(_RAW_SECONDS)
            seconds, steps = time.monotonic() - training.began, steps_made(logdir)
            if steps >= asked or not training.is_running:
                break
            rate = (steps - last[1]) / (seconds - last[0])
            handles = min(handles, handles_of(training.process.pid))
            memory, threads = sizes_of(training.process.pid)
            samples.append(Sample(seconds, steps, memory, handles, threads, rate, raw))
            writer.writerow([*(f"{value:.8g}" for value in samples[-1]), revision])
            file.flush()
            last = (seconds, steps)
    return samples


def steps_made(logdir: Path) -> int:
    """What the last whole row of progress.csv says."""
    rows = left_behind.whole_rows(logdir / "progress.csv")
    return int(rows[-1].split(",")[1]) if rows else 0


def handles_of(pid: int) -> int:
    """Open file handles of a process, from /proc."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def sizes_of(pid: int) -> tuple[float, int]:
    """Resident MiB and threads of a process, from /proc."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])


class BareStepping:
    """The same environments, again and again with the same drawn actions, and nothing else."""

    def __init__(self) -> None:
        self._env = environments.make_vector_env(ENV, NUM_ENVS, SETTINGS["vectorization"])
        self._env.reset(seed=0)
        self._actions = self._env.action_space.sample()

    def measure(self, seconds: float) -> float:
        """Environment steps a second."""
        began, steps = time.perf_counter(), 0
        while (taken := time.perf_counter() - began) < seconds:
            for _ in range(50):
                self._env.step(self._actions)
            steps += 50 * NUM_ENVS
        return steps / taken


def judge(samples: Sequence[Sample], made: int, asked: int) -> dict[str, tuple[bool, str]]:
    """The criteria by name: whether each is met, and the figures.

    Args:
        samples: looks at the training.
        made: steps of the whole run.
        asked: steps that it should make.
    """
    # The last look comes before the end, by less than the pause between two.
    last_look = samples[-1].env_steps if samples else 0
    is_whole = made >= asked and last_look >= _END * asked
    steps = is_whole, f"{made:,} of {asked:,}, the last look at {last_look:,}"
    if not is_whole:
        return {"steps": steps}
    settled = [sample for sample in samples if sample.env_steps >= _SETTLED * asked]
    first, last = settled[0], samples[-1]
    growth = last.resident_mib / first.resident_mib
    figures = (
        f"{first.resident_mib:.1f} MiB at {_SETTLED:.0%}, {last.resident_mib:.1f} at the end, "
        f"{growth:.3f} times as much (at most {_MOST_MEMORY})"
    )
    found = {"steps": steps, "memory": (growth <= _MOST_MEMORY, figures)}
    for name in ("handles", "threads"):
        counts = sorted({getattr(sample, name) for sample in settled})
        found[name] = (len(counts) == 1, f"from {_SETTLED:.0%} on {counts}")
    start, end, (low, high) = change_of_speed(samples)
    change = end / start - 1
    figures = (
        f"{start:.4f} of bare stepping in the first fifth, {end:.4f} in the last: {change:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    found["speed"] = (abs(change) <= _MOST_SLOWER, figures)
    return found


def change_of_speed(samples: Sequence[Sample]) -> tuple[float, float, tuple[float, float]]:
    """Speed by bare stepping's in the first and the last fifth, and bounds of its relative change.

    Steps of all looks of a fifth by their seconds, and the mean of bare stepping's speeds; the
    bounds are those of the bootstrap's 95 %, over looks. The first look holds the start and the
    compiling, and is left out.
    """
    steps = np.diff([sample.env_steps for sample in samples])
    seconds = np.diff([sample.seconds for sample in samples])
    raw = np.array([sample.raw_steps_per_second for sample in samples[1:]])
    share = max(1, round(_SETTLED * len(samples)))
    generator = np.random.default_rng(0)

    def speed(chosen: np.ndarray) -> np.ndarray:
        rate = steps[chosen].sum(-1) / seconds[chosen].sum(-1)
        return rate / raw[chosen].mean(-1)

    def fifth(looks: np.ndarray) -> tuple[float, np.ndarray]:
        drawn = generator.integers(len(looks), size=(_RESAMPLES, len(looks)))
        return float(speed(looks)), speed(looks[drawn])

    every = np.arange(len(steps))
    (start, starts), (end, ends) = fifth(every[:share]), fifth(every[-share:])
    low, high = np.quantile(ends / starts - 1, [0.025, 0.975])
    return start, end, (float(low), float(high))


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Memory, handles and threads, and speed over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots(3, sharex=True)
    steps = [sample.env_steps / 1e6 for sample in samples]
    memory = [sample.resident_mib for sample in samples]
    axes[0].plot(steps, memory)
    axes[0].set(ylabel="resident memory, MiB", ylim=(0, 1.1 * max(memory)))
    axes[1].plot(steps, [sample.handles for sample in samples], label="file handles")
    axes[1].plot(steps, [sample.threads for sample in samples], label="threads")
    axes[1].set(ylim=(0, None))
    axes[1].legend(loc="center right")
    ratios = [sample.steps_per_second / sample.raw_steps_per_second for sample in samples]
    axes[2].plot(steps, ratios)
    axes[2].set(ylabel="steps/s by bare stepping's", xlabel="million steps", ylim=(0, None))
    figure.savefig(path, dpi=100)


def main(_: list[str]) -> None:
    logdir, out = Path(_LOGDIR.value).absolute(), Path(_OUT.value)
    directory = logdir.with_name(f"{logdir.name}-output")
    settings = {**SETTINGS, "total_steps": _TOTAL.value, "logdir": logdir, "export_dir": "model"}
    outcome = Outcome()
    training = Training(directory, settings, outcome)
    # The training may take as long as it does.
    samples = watch(training, logdir, out / "long_run.csv", _TOTAL.value, _SAMPLES.value)
    ended = training.wait()
    print(f"Ended with {ended.status} after {ended.seconds:.0f} s. {ended.err.strip()}")
    plot(samples, out / "long_run.png")
    judged = judge(samples, steps_made(logdir), _TOTAL.value)
    for name, (is_met, figures) in judged.items():
        print(f"{name}: {'met' if is_met else 'NOT MET'}: {figures}")
    for fault in outcome.found:
        print(fault)
    is_whole = ended.status == 0 and outcome.survived
    if not is_whole or not all(is_met for is_met, _ in judged.values()):
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
