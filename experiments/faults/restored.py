"""What resuming a run brings back: everything that its newest whole checkpoint holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.faults import left_behind
from experiments.faults.outcome import Outcome
from trpo_tf import checkpoint, training_session
from trpo_tf.named_variables import named_variables

# So that a run that is over has something to go on with; nothing is trained here.
_MORE_STEPS = 10**15
_RETURNS_UNDER_WAY = "return_scaling_discounted_return/discounted_return"


def check(logdir: Path, outcome: Outcome) -> None:
    """Resumes a copy of a run as the command does, and books what is not as it was saved.

    Compared, bit for bit, are every variable (weights, slots of the optimiser, statistics, counters
    of updates), the sampler's counters and the exact state of the environments, which must be there
    if a synchronous sampler steps them in its own process. Where it is not to be had, the returns
    of the episodes under way are zero instead. What was saved is read apart, by TensorFlow's
    reader. The run itself is not touched.

    Args:
        logdir: a run with a whole checkpoint.
        outcome: where it is booked.
    """
    found = checkpoint.latest_checkpoint(logdir / "checkpoints")
    assert found is not None
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "run"
        (copy / "checkpoints").mkdir(parents=True)
        shutil.copy(logdir / "config.json", copy)
        shutil.copytree(found.path, copy / "checkpoints" / found.path.name)
        try:
            session = training_session.resume({"total_steps": _MORE_STEPS}, copy, [])
        except (ValueError, OSError) as error:
            outcome.book("wrong", str(error))
            return
        assert isinstance(session, training_session.Session)
        try:
            components = session.components
            variables = named_variables(components.trpo.checkpointables())
            here = {name: variable.numpy() for name, variable in variables.items()}
            arrays = checkpoint.read_arrays(found)
            kept = left_behind.saved_variables(found.path)
            config = session.run.record.config
            has_state = (config.sampler, config.vectorization) == ("sync", "sync")
            outcome.require(
                arrays is not None or not has_state or found.step == 0,
                "lost",
                f"the environments of checkpoint {found.step}",
            )
            if arrays is None:
                # The episodes that were under way are cut: their returns begin anew.
                kept[_RETURNS_UNDER_WAY] = np.zeros_like(kept[_RETURNS_UNDER_WAY])
            _compare("variables", here, kept, outcome)
            saved = checkpoint.read_state(found)["sampler"]
            restored = components.sampler.state()
            outcome.require(restored == saved, "wrong", f"sampler {restored}, saved was {saved}")
            exact = components.sampler.exact_state()
            goes_on = session.environments_go_on == (arrays is not None)
            outcome.require(goes_on, "wrong", "the environments begin anew")
            _compare("environments", exact or {}, arrays or {}, outcome)
        finally:
            session.close()


def _compare(
    what: str, restored: Mapping[str, Any], saved: Mapping[str, Any], outcome: Outcome
) -> None:
    names = sorted(restored.keys() ^ saved.keys())
    outcome.book("wrong", f"{what}: {names[:3]} in one alone", len(names))
    differing = [
        name
        for name in sorted(restored.keys() & saved.keys())
        if np.asarray(restored[name]).tobytes() != np.asarray(saved[name]).tobytes()
    ]
    outcome.book("wrong", f"{what}: {differing[:3]} were not restored", len(differing))
