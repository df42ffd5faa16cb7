"""Trust region policy optimisation for TensorFlow, as a kit of parts.

Keras policies that emit TFP distributions plug into `Sampler`, `Advantage`, `KLConstraint` and
`NaturalGradientOptimizer`, which `TRPO` composes; `export_policy` writes SavedModels that
TensorFlow Serving loads.
"""

from trpo_tf.startup import start

start()

from trpo_tf.advantage import Advantage
from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.conjugate_gradient import conjugate_gradient
from trpo_tf.environments import make_env, make_vector_env
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.line_search import Backtracking, FillTrustRegion
from trpo_tf.loaded_policy import LoadedPolicy, load_policy
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.normalizer import RunningNormalizer
from trpo_tf.policies import make_policy
from trpo_tf.preconditioner import DiagonalPreconditioner
from trpo_tf.replay import Replay
from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.rollout_check import checked_rollouts
from trpo_tf.rollout_files import read_rollouts, save_rollout
from trpo_tf.rollout_rows import critic_values, make_batch, target_log_probs
from trpo_tf.run_directory import Run, load_run
from trpo_tf.samplers import AsyncSampler, Inference, RaySampler, Recipe, Sampler
from trpo_tf.saved_model import export_policy
from trpo_tf.trpo import TRPO
from trpo_tf.types import (
    AdvantageEstimate,
    Batch,
    Correction,
    EpisodeStats,
    Rollout,
    StepStatus,
    UpdateInfo,
)
from trpo_tf.value_function import make_value_function
from trpo_tf.value_regression import ValueRegression

__version__ = "0.1.0"

__all__ = [
    "TRPO",
    "Advantage",
    "AdvantageEstimate",
    "AsyncSampler",
    "Backtracking",
    "Batch",
    "ClippedNormal",
    "Correction",
    "DiagonalPreconditioner",
    "EpisodeStats",
    "Execution",
    "FillTrustRegion",
    "Inference",
    "KLConstraint",
    "LoadedPolicy",
    "NaturalGradientOptimizer",
    "RaySampler",
    "Recipe",
    "Replay",
    "ReturnScaling",
    "Rollout",
    "Run",
    "RunningNormalizer",
    "Sampler",
    "StepStatus",
    "UpdateInfo",
    "ValueRegression",
    "checked_rollouts",
    "conjugate_gradient",
    "critic_values",
    "export_policy",
    "load_policy",
    "load_run",
    "make_batch",
    "make_env",
    "make_policy",
    "make_value_function",
    "make_vector_env",
    "read_rollouts",
    "save_rollout",
    "target_log_probs",
]
