"""Settings that are no plain numbers: the words that they may be, and what those mean."""

from __future__ import annotations

import math

from trpo_tf.setting import described

ENV = described(
    "Gymnasium id of the environment, with or without its version; module:Id-v0 imports the "
    "module first.",
    lambda value: bool(value.strip()),
    "the id of an environment",
    "For example Walker2d, CartPole-v1 or ALE/Pong-v5.",
)
ENV_KWARGS = described(
    "Arguments of the environment's constructor, as a JSON object. Default {}.",
    lambda value: True,
    "a JSON object with text keys",
    'For example {"frame_skip": 4}.',
)
HIDDEN_SIZES = described(
    "Units of the hidden layers of policy and value function (images have convolutions instead).",
    lambda value: len(value) <= 64 and all(1 <= units <= 2**16 for units in value),
    "a list of up to 64 layer sizes in [1, 65536]",
    "Typical values are 64,64 and 256,256.",
)
REPLAY_WEIGHTS = described(
    "How much a row counts by the age of its rollout, one number for each of replay_rollouts, the "
    "newest first; none weighs all alike.",
    lambda value: all(0 < weight < math.inf for weight in value),
    "a list of finite numbers > 0 or none",
    "Typical values are 1,1,1 and 1,0.7,0.5.",
)
RAY_ADDRESS = described(
    "The Ray cluster whose workers collect: host:port of its head, or auto for the one that this "
    "machine belongs to; none starts one of this machine alone.",
    lambda value: bool(value.strip()),
    "host:port, auto or none",
    "For example 10.0.0.1:6379.",
)
SAMPLERS = {
    "sync": "collect, update, repeat",
    "async": "a thread collects while the policy is updated",
    "ray": "workers of a Ray cluster collect meanwhile",
}
VECTORIZATIONS = {
    "auto": "native for Atari, envpool for MuJoCo's tasks where it is installed, else sync",
    "sync": "one process, one after the other",
    "async": "a process for each environment",
    "envpool": "EnvPool's C++ threads",
    "native": "the environment's own vector form",
}
LINE_SEARCHES = {
    "fill": "the measured KL fills the trust region",
    "classic": "sqrt(2 max_kl / xAx), then backtracking",
}
ACTIVATIONS = {
    "tanh": "bounded",
    "relu": "rectifier",
    "elu": "exponential unit",
    "gelu": "Gaussian unit",
    "silu": "x sigmoid(x)",
}
EXECUTIONS = {
    "auto": "xla, or graph for images",
    "xla": "compiled by XLA",
    "graph": "tf.function",
    "eager": "op by op, to debug",
}
