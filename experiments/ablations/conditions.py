"""One alternative each to what the presets do: what is compared, by name."""

from __future__ import annotations

from typing import Any

PRESET = "preset"
# By what is in question: the name of each alternative and its settings.
ABLATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "step length": {"classic step length": {"line_search": "classic"}},
    "observation normalisation": {"raw observations": {"normalize_observations": False}},
    "return scaling": {"raw returns": {"scale_returns": False}},
    "critic effort (preset: 20 epochs of 64 rows)": {
        "20 steps on the whole batch": {"value_minibatch_size": 0}
    },
    "Fisher fraction (preset: 1)": {"fraction 0.1": {"fisher_fraction": 0.1}},
    "conjugate gradient (preset: 10 steps)": {"5 steps": {"cg_steps": 5}},
}
CONDITIONS: dict[str, dict[str, Any]] = {PRESET: {}} | {
    name: settings for alternatives in ABLATIONS.values() for name, settings in alternatives.items()
}
