"""Trust region policy optimisation for TensorFlow, as a kit of parts.

Keras policies that emit TFP distributions plug into `Sampler`, `Advantage`, `KLConstraint` and
`NaturalGradientOptimizer`, which `TRPO` composes; `export_policy` writes SavedModels that
TensorFlow Serving loads.
"""

from trpo_tf.startup import start

start()

from trpo_tf.advantage import Advantage  # noqa: E402
from trpo_tf.conjugate_gradient import conjugate_gradient  # noqa: E402
from trpo_tf.execution import Execution  # noqa: E402
from trpo_tf.kl_constraint import KLConstraint  # noqa: E402
from trpo_tf.line_search import Backtracking, FillTrustRegion  # noqa: E402
from trpo_tf.natural_gradient import NaturalGradientOptimizer  # noqa: E402
from trpo_tf.normalizer import RunningNormalizer  # noqa: E402
from trpo_tf.policies import make_policy  # noqa: E402
from trpo_tf.preconditioner import DiagonalPreconditioner  # noqa: E402
from trpo_tf.return_scaling import ReturnScaling  # noqa: E402
from trpo_tf.samplers import Sampler  # noqa: E402
from trpo_tf.trpo import TRPO  # noqa: E402
from trpo_tf.types import (  # noqa: E402
    AdvantageEstimate,
    Batch,
    EpisodeStats,
    Rollout,
    StepStatus,
    UpdateInfo,
)
from trpo_tf.value_function import make_value_function  # noqa: E402
from trpo_tf.value_regression import ValueRegression  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "TRPO",
    "Advantage",
    "AdvantageEstimate",
    "Backtracking",
    "Batch",
    "DiagonalPreconditioner",
    "EpisodeStats",
    "Execution",
    "FillTrustRegion",
    "KLConstraint",
    "NaturalGradientOptimizer",
    "ReturnScaling",
    "Rollout",
    "RunningNormalizer",
    "Sampler",
    "StepStatus",
    "UpdateInfo",
    "ValueRegression",
    "conjugate_gradient",
    "make_policy",
    "make_value_function",
]
