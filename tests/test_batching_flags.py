"""Flags of batching: one definition, `Batching`'s own defaults, and bounds."""

from __future__ import annotations

import pytest
from absl import flags

from trpo_tf import command_line
from trpo_tf.serving.batching_flags import batching_of, define_batching_flags
from trpo_tf.serving.served_version import MAX_BATCH_SIZE, Batching


def parsed(*arguments: str) -> flags.FlagValues:
    values = command_line.new_flags()
    define_batching_flags(values)
    values(["program", *arguments])
    return values


def test_the_defaults_are_those_of_batching() -> None:
    assert batching_of(parsed()) == Batching()


def test_what_is_given_is_taken() -> None:
    given = parsed("--max_batch_size=8", "--batch_timeout_micros=0")
    assert batching_of(given) == Batching(max_batch_size=8, timeout_micros=0)


@pytest.mark.parametrize(
    "argument",
    ["--max_batch_size=0", f"--max_batch_size={MAX_BATCH_SIZE + 1}", "--batch_timeout_micros=-1"],
)
def test_what_is_out_of_range_is_refused(argument: str) -> None:
    with pytest.raises(flags.IllegalFlagValueError):
        parsed(argument)
