"""Progress for people: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import collections
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

import rich.console
import rich.progress

_SECONDS_BETWEEN_LINES = 10.0
_ROWS_OF_PACE = 30
_WIDE = 120


class Display(Protocol):
    """Shows rows of progress.csv as they come, and notes between them."""

    def show(self, row: Mapping[str, Any]) -> None:
        """Shows, or leaves out, one row."""

    def note(self, text: str) -> None:
        """Shows a line of text."""

    def close(self) -> None:
        """Ends the display; calling it again does nothing more."""


def make_display(kind: str, title: str, total_steps: int, stream: TextIO | None = None) -> Display:
    """Makes the display that fits where the output goes.

    Args:
        kind: "auto" (a bar on a terminal, else lines), "bar", "lines" or "none".
        title: what is trained, the environment's id say.
        total_steps: environment steps of the whole run.
        stream: where to; None: standard output.

    Raises:
        ValueError: for another kind.
    """
    if kind not in ("auto", "bar", "lines", "none"):
        raise ValueError(f"progress must be 'auto', 'bar', 'lines' or 'none', got {kind!r}.")
    output = stream or sys.stdout
    if kind == "none":
        return Silence()
    console = rich.console.Console(file=output, highlight=False)
    if kind == "bar" or (kind == "auto" and console.is_terminal and not console.is_dumb_terminal):
        return Bar(title, total_steps, console)
    return Lines(total_steps, output)


class Silence:
    """Shows nothing."""

    def show(self, row: Mapping[str, Any]) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Does nothing."""


class Lines:
    """Writes the first row, every row with an evaluation, the last, and one every ten seconds.

    Args:
        total_steps: environment steps of the whole run.
        stream: where to.
        clock: seconds; only differences count.

    >>> row = {"update": 1, "env_steps": 2048, "episode_return_mean": 12.5, "kl": 0.00987}
    >>> lines = Lines(1_000_000, sys.stdout)
    >>> lines.show(row | {"wall_time": 2.0, "steps_per_second": 1024.0})
    2,048 / 1,000,000 steps (0.2 %) | return 12.5 | KL 0.00987 | 1,024 steps/s | 16 min 15 s left
    """

    def __init__(
        self, total_steps: int, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total_steps = total_steps
        self._stream = stream
        self._clock = clock
        self._shown_at = -math.inf
        self._pace = Pace(total_steps)

    def show(self, row: Mapping[str, Any]) -> None:
        """Writes one line, or leaves the row out."""
        self._pace.add(row)
        is_due = self._clock() - self._shown_at >= _SECONDS_BETWEEN_LINES
        is_last = row["env_steps"] >= self._total_steps
        if is_due or is_last or row.get("eval_return_mean") is not None:
            self._shown_at = self._clock()
            share = row["env_steps"] / self._total_steps
            steps = f"{row['env_steps']:,} / {self._total_steps:,} steps ({share:.1%})"
            self.note(" | ".join([steps.replace("%", " %"), *facts(row, self._pace)]))

    def note(self, text: str) -> None:
        """Writes a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: every line is complete."""


class Bar:
    """A bar of the library rich, with the last row's figures beside it.

    Args:
        title: what is trained.
        total_steps: environment steps of the whole run.
        console: of a terminal.
    """

    def __init__(self, title: str, total_steps: int, console: rich.console.Console) -> None:
        self._pace = Pace(total_steps)
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("[bold]{task.description}"),
            rich.progress.BarColumn(bar_width=24 if console.width >= _WIDE else 8),
            rich.progress.TextColumn("{task.completed:,} / {task.total:,}"),
            rich.progress.TextColumn("{task.fields[facts]}", markup=False),
            console=console,
            # Twice a second is enough to read, and leaves the processor to the training.
            refresh_per_second=2,
        )
        self._task = self._progress.add_task(title, total=total_steps, facts="")
        self._progress.start()

    def show(self, row: Mapping[str, Any]) -> None:
        """Moves the bar; a row with an evaluation also leaves a line above it."""
        self._pace.add(row)
        figures = facts({**row, "eval_return_mean": None}, self._pace)
        self._progress.update(self._task, completed=row["env_steps"], facts=" | ".join(figures))
        if row.get("eval_return_mean") is not None:
            self.note(f"{row['env_steps']:,} steps: evaluation {readable(row['eval_return_mean'])}")

    def note(self, text: str) -> None:
        """Writes a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the bar as it stands and gives the terminal back."""
        self._progress.stop()


class Pace:
    """How fast the last updates went, and how long the rest takes at that speed.

    Args:
        total_steps: environment steps of the whole run.
    """

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps
        self._points: collections.deque[tuple[float, float]] = collections.deque(
            maxlen=_ROWS_OF_PACE
        )

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes a row into account."""
        if not self._points:
            # The time before the first row, compilation included, is no guide to the rest; it is
            # used until there is better.
            speed = row.get("steps_per_second") or 0.0
            self._first_speed = speed if math.isfinite(speed) else 0.0
        self._points.append((row["wall_time"], row["env_steps"]))

    @property
    def steps_per_second(self) -> float:
        """Environment steps a second; 0 if not known yet."""
        (first_time, first_steps), (last_time, last_steps) = self._points[0], self._points[-1]
        if last_time <= first_time:
            return self._first_speed
        return (last_steps - first_steps) / (last_time - first_time)

    @property
    def seconds_left(self) -> float:
        """Until all steps are made; infinite if not known yet."""
        steps_left = max(0, self._total_steps - self._points[-1][1])
        return steps_left / self.steps_per_second if self.steps_per_second > 0 else math.inf


def facts(row: Mapping[str, Any], pace: Pace) -> list[str]:
    """What a person wants to know of a row, each as a few words."""
    shown = [f"return {readable(row.get('episode_return_mean'))}"]
    if row.get("eval_return_mean") is not None:
        shown.append(f"evaluation {readable(row['eval_return_mean'])}")
    shown.append(f"KL {readable(row.get('kl'))}")
    if not row.get("accepted", True):
        shown.append(f"refused: {row.get('status')}")
    shown.append(f"{pace.steps_per_second:,.0f} steps/s")
    if math.isfinite(pace.seconds_left):
        shown.append(f"{duration(pace.seconds_left)} left")
    return shown


def readable(value: Any) -> str:
    """A number as a person reads it, four digits or so.

    >>> [readable(value) for value in (None, 12345.6, 123.456, 0.0098712, 3.2e-9, float("inf"))]
    ['-', '12,346', '123.5', '0.009871', '3.2e-09', 'inf']
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(9.7), duration(700), duration(7265)
    ('10 s', '11 min 40 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
