"""What a stale behaviour policy β costs: ratios, distance, trust region left, sample size.

β drew the data, π_old is the policy being improved. On policy every ratio is exactly 1 and the
distance exactly 0.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def importance_ratio(target_log_probs: Any, behaviour_log_probs: Any) -> Any:
    """π_old(a|s) / β(a|s), of any shape; exactly 1 where both arguments are the same number.

    >>> importance_ratio(tf.constant([0.0]), tf.constant([0.0])).numpy().tolist()
    [1.0]
    """
    return tf.exp(target_log_probs - behaviour_log_probs)


def behaviour_kl(target_log_probs: Any, behaviour_log_probs: Any, weights: Any) -> Any:
    """An estimate of E KL(β ‖ π_old) from samples of β, ≥ 0, in nats.

    With x = log π_old − log β, KL = E_β[−x] = E_β[eˣ − 1 − x] because E_β[eˣ] = 1; the second
    form has no negative terms and far less variance.

    Source: Schulman, Approximating KL divergence (2020), the estimator k3.

    Args:
        target_log_probs: log π_old(a|s), [N].
        behaviour_log_probs: log β(a|s), [N].
        weights: [N], 0 for rows that do not count.
    """
    difference = tf.where(weights > 0, target_log_probs - behaviour_log_probs, 0)
    excess = tf.math.expm1(difference) - difference
    mean = tf.math.divide_no_nan(tf.reduce_sum(weights * excess), tf.reduce_sum(weights))
    return tf.maximum(mean, 0)


def effective_max_kl(max_kl: Any, travelled: Any) -> Any:
    """The trust region that is left around π_old when data came from β at distance K, ≥ 0.

    δ_eff = δ − (√(K(δ + K/4)) − K/2), exactly δ at K = 0; floored at 0.

    Source: Meng et al., Off-policy trust region policy optimization method with monotonic
    improvement guarantee (2021).

    Args:
        max_kl: δ, nats.
        travelled: K, the mean KL(β ‖ π_old), nats.

    >>> effective_max_kl(tf.constant(0.01), tf.constant(0.0)).numpy() == tf.constant(0.01).numpy()
    np.True_
    """
    # The same without cancellation: right for a K of 1e6, δ at K = 0 and 0 at K = ∞.
    loss = 2 * max_kl / (1 + tf.sqrt(1 + 4 * max_kl / travelled))
    return tf.maximum(max_kl - loss, 0)


def effective_sample_size(ratio: Any, weights: Any) -> Any:
    """(Σwρ)² / (Σw · Σwρ²), in (0, 1]: the fraction of rows that a weighted mean is worth.

    Source: Kish, Survey sampling (1965).

    Args:
        ratio: importance ratios ρ, [N].
        weights: w, [N], 0 for rows that do not count.
    """
    ratio = tf.where(weights > 0, ratio, 0)
    numerator = tf.reduce_sum(weights * ratio) ** 2
    return tf.math.divide_no_nan(
        numerator, tf.reduce_sum(weights) * tf.reduce_sum(weights * ratio**2)
    )
