"""The flags that say how concurrent requests are put together, alike in all command lines."""

from __future__ import annotations

from typing import Any

from absl import flags

from trpo_tf.serving.served_version import MAX_BATCH_SIZE, Batching


def define_batching_flags(flag_values: flags.FlagValues) -> None:
    """Adds `--max_batch_size` and `--batch_timeout_micros`, whose defaults are `Batching`'s."""
    usual = Batching()
    flags.DEFINE_integer(
        "max_batch_size",
        usual.max_batch_size,
        "Rows in one batch; larger requests are split.",
        lower_bound=1,
        upper_bound=MAX_BATCH_SIZE,
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "batch_timeout_micros",
        usual.timeout_micros,
        "How long an incomplete batch waits, in microseconds.",
        lower_bound=0,
        flag_values=flag_values,
    )


def batching_of(values: Any) -> Batching:
    """What the flags of a command line ask for."""
    return Batching(values.max_batch_size, values.batch_timeout_micros)
