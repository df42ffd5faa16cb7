"""Errors of the kit that are not errors of arguments."""

from __future__ import annotations


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why and where the last checkpoint lies."""
