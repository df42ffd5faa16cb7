"""Scalars for TensorBoard, written with TensorFlow alone."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tensorflow as tf

from trpo_tf import atomic_files


class EventFile:
    """Writes scalars to a file that TensorBoard reads; each call's are on the file at its end.

    `tf.summary.scalar` needs TensorBoard itself to be installed, and cannot tell it that a resumed
    run takes steps back. TensorFlow's own record writer and event messages do both.

    Args:
        directory: TensorBoard's log directory; made when missing. Every `EventFile` adds a file.
        resume_step: of a resumed run: what earlier files say of later steps than this one is not
            shown.

    Raises:
        OSError: the file cannot be written; names the path.

    >>> import tempfile
    >>> with EventFile(tempfile.mkdtemp()) as events:
    ...     events.write(2048, {"update/kl": 0.01})
    """

    def __init__(self, directory: str | os.PathLike[str], resume_step: int | None = None) -> None:
        atomic_files.make_directories(directory)
        # TensorBoard reads files in the order of their names.
        self.path = Path(directory) / f"events.out.tfevents.{time.time_ns():019d}"
        try:
            self._writer = tf.io.TFRecordWriter(os.fspath(self.path))
        except tf.errors.OpError as error:
            raise self._failure(error) from error
        self._write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))
        if resume_step is not None:
            start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            step = resume_step + 1
            self._write(tf.compat.v1.Event(wall_time=time.time(), step=step, session_log=start))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds the finite ones of some scalars.

        Args:
            step: where they stand on TensorBoard's horizontal axis.
            scalars: by tag; what stands before a tag's slash groups the plots.

        Raises:
            OSError: the file cannot be written; names the path.
        """
        values = [
            tf.compat.v1.Summary.Value(tag=tag, simple_value=value)
            for tag, value in scalars.items()
            if math.isfinite(value)
        ]
        summary = tf.compat.v1.Summary(value=values)
        self._write(tf.compat.v1.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Ends writing; calling it again does nothing more.

        Raises:
            OSError: what was written does not fit on the disk; names the path.
        """
        try:
            self._writer.close()
        except tf.errors.OpError as error:
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, event: Any) -> None:
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except tf.errors.OpError as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> OSError:
        return OSError(f"{self.path} cannot be written: {str(error.message).splitlines()[0]}")
