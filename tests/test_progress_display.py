from __future__ import annotations

import io

import pytest
import rich.console

from trpo_tf import progress_display
from trpo_tf.progress_display import Bar, Lines, Pace, Silence, make_display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(update, seconds=1.0, **more):
    return {
        "update": update,
        "env_steps": 1000 * update,
        "wall_time": seconds * update,
        "steps_per_second": 1000 / seconds,
        "episode_return_mean": 12.0 * update,
        "kl": 0.01,
        "accepted": True,
        "status": "ACCEPTED",
        **more,
    }


def test_lines_come_first_last_every_ten_seconds_and_with_evaluations():
    now = 0.0
    stream = io.StringIO()
    lines = Lines(100_000, stream, clock=lambda: now)
    for update in range(1, 101):
        now = float(update)
        lines.show(row(update, eval_return_mean=7.0 if update == 15 else None))
    shown = [int(line.split(" /")[0].replace(",", "")) for line in stream.getvalue().splitlines()]
    assert shown == [1000, 11_000, 15_000, *range(25_000, 100_000, 10_000), 100_000]
    assert "evaluation 7 |" in stream.getvalue()


def test_line_says_what_counts():
    stream = io.StringIO()
    lines = Lines(10_000, stream)
    lines.show(row(4, episode_return_mean=None, accepted=False, status="NO_IMPROVEMENT"))
    lines.note("checkpoint")
    lines.close()
    assert stream.getvalue() == (
        "4,000 / 10,000 steps (40.0 %) | return - | KL 0.01 | refused: NO_IMPROVEMENT | "
        "1,000 steps/s | 6 s left\ncheckpoint\n"
    )


def test_pace_forgets_the_slow_beginning():
    pace = Pace(100_000)
    pace.add(row(1, seconds=50.0, wall_time=50.0))
    assert pace.steps_per_second == pytest.approx(20.0)
    for update in range(2, 60):
        pace.add(row(update, wall_time=50.0 + update))
    assert pace.steps_per_second == pytest.approx(1000.0)
    assert pace.seconds_left == pytest.approx(41.0)


def test_pace_of_nothing():
    pace = Pace(1000)
    pace.add(row(0, steps_per_second=float("nan")))
    assert progress_display.facts(row(0), pace)[-1] == "0 steps/s"


def test_bar_on_a_terminal():
    stream = Terminal()
    console = rich.console.Console(file=stream, force_terminal=True, width=120)
    bar = Bar("CartPole-v1", 4000, console)
    bar.show(row(1))
    bar.show(row(2, eval_return_mean=3.5))
    bar.note("[saved] checkpoint 2")
    bar.show(row(4, accepted=False, status="KL_TOO_LARGE"))
    bar.close()
    bar.close()
    output = stream.getvalue()
    assert "CartPole-v1" in output
    assert "2,000 steps: evaluation 3.5" in output
    assert "[saved] checkpoint 2" in output
    assert "4,000 / 4,000" in output
    assert "refused: KL_TOO_LARGE" in output
    assert output.rstrip(" ").endswith(("\n", "\x1b[?25h"))


def test_display_fits_where_the_output_goes(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(make_display("auto", "x", 10, io.StringIO()), Lines)
    for stream in (Terminal(), io.StringIO()):
        assert isinstance(make_display("lines", "x", 10, stream), Lines)
        assert isinstance(make_display("none", "x", 10, stream), Silence)
    bar = make_display("auto", "x", 10, Terminal())
    bar.close()
    assert isinstance(bar, Bar)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_display("auto", "x", 10, Terminal()), Lines)
    with pytest.raises(ValueError, match="progress must be 'auto'"):
        make_display("loud", "x", 10)


def test_silence(capsys):
    silence = Silence()
    silence.show(row(1))
    silence.note("x")
    silence.close()
    assert capsys.readouterr().out == ""
