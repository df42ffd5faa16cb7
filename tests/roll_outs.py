"""Constant load on a server while labels move."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
from serving_models import ROWS, expected_actions

from trpo_tf.serving import Client


class Load:
    """Clients that ask for `stable` again and again, and note which version answered.

    Args:
        urls: one client each, alternately REST and gRPC, say.
        model: its name.
    """

    def __init__(self, urls: list[str], model: str) -> None:
        self.seen: list[list[int]] = [[] for _ in urls]
        self.errors: list[BaseException] = []
        self._ended = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._ask, args=(index, url, model), daemon=True)
            for index, url in enumerate(urls)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, version: int) -> None:
        """Waits until every client's last answer came from a version."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.errors or all(seen and seen[-1] == version for seen in self.seen)
            )

    def end(self) -> None:
        """Ends the load after the requests that are under way; raises what a client met."""
        self._ended = True
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def orders(self) -> list[list[int]]:
        """For each client the versions in the order in which they answered, repeats left out."""
        return [[version for version, _ in groupby(seen)] for seen in self.seen]

    def _ask(self, index: int, url: str, model: str) -> None:
        try:
            with Client(url, model, "stable", retries=0) as client:
                while not self._ended:
                    prediction = client.predict({"observations": ROWS})
                    self._note(index, answered_by(prediction))
        except BaseException as error:  # noqa: BLE001 (any loss is what the test looks for)
            with self._changed:
                self.errors.append(error)
                self._changed.notify_all()

    def _note(self, index: int, version: int) -> None:
        with self._changed:
            self.seen[index].append(version)
            self._changed.notify_all()


def answered_by(prediction: Any) -> int:
    """The version by the answer itself; it must be whole and what the server says it is."""
    actions = prediction.outputs["actions"]
    version = round(float(actions[0, 0] - ROWS[0, 0]) / 10)
    np.testing.assert_allclose(actions, expected_actions(version), atol=1e-5)
    assert prediction.version in (None, version)
    return version


def roll_out_and_back(
    load: Load, times: int, promote: Callable[[], Any], roll_back: Callable[[], Any]
) -> list[int]:
    """Moves `stable` from 1 to 2 and back, each time until every client has seen it.

    Returns:
        The versions in the order in which they were commanded.
    """
    load.wait_for(1)
    for _ in range(times):
        promote()
        load.wait_for(2)
        roll_back()
        load.wait_for(1)
    return [1, *[2, 1] * times]
