"""Slow, obvious definitions that the tests hold the library to.

Plain Python and NumPy in float64, written from the equations and without any code of trpo_tf.
TensorFlow appears only where a derivative of a user's network is needed, and then as ordinary
reverse-mode differentiation of scalars and log-probabilities.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# --- advantages ---------------------------------------------------------------------------------


def rows_summed(done: np.ndarray, mask: np.ndarray, start: int) -> Iterator[int]:
    """Rows that the sum of row `start` runs over, in one environment: to its episode's end."""
    for row in range(start, len(mask)):
        if not mask[row]:
            return
        yield row
        if done[row]:
            return


def temporal_differences(
    rewards: np.ndarray,
    values: np.ndarray,
    terminated: np.ndarray,
    mask: np.ndarray,
    discount: float,
) -> np.ndarray:
    """r + discount V(s') - V(s), with V(s') = 0 after a termination; 0 on dummy rows."""
    num_steps, num_envs = rewards.shape
    deltas = np.zeros((num_steps, num_envs))
    for t, b in itertools.product(range(num_steps), range(num_envs)):
        if mask[t, b]:
            next_value = 0.0 if terminated[t, b] else float(values[t + 1, b])
            deltas[t, b] = rewards[t, b] + discount * next_value - values[t, b]
    return deltas


def advantage_sums(
    rewards: np.ndarray,
    values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    mask: np.ndarray,
    discount: float,
    gae_lambda: float,
    rho: np.ndarray,
    c: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and value corrections as explicit double sums, O(T^2) in the rollout's length.

    corrections[t] = sum_k discount^(k-t) (prod_{t<=i<k} c_i) rho_k delta_k
    advantages[t]  = delta_t + sum_{k>t} discount^(k-t) gae_lambda (prod_{t<i<k} c_i) rho_k delta_k
    """
    deltas = temporal_differences(rewards, values, terminated, mask, discount)
    done = np.asarray(terminated) | np.asarray(truncated)
    advantages, corrections = np.zeros_like(deltas), np.zeros_like(deltas)
    num_steps, num_envs = deltas.shape
    for t, b in itertools.product(range(num_steps), range(num_envs)):
        for k in rows_summed(done[:, b], mask[:, b], t):
            discounted = discount ** (k - t) * rho[k, b] * deltas[k, b]
            corrections[t, b] += discounted * math.prod(c[i, b] for i in range(t, k))
            if k == t:
                advantages[t, b] += deltas[t, b]
            else:
                traces = math.prod(c[i, b] for i in range(t + 1, k))
                advantages[t, b] += discounted * gae_lambda * traces
    return advantages, corrections


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    mask: np.ndarray,
    discount: float,
    gae_lambda: float,
) -> np.ndarray:
    """A_t = sum_k (discount gae_lambda)^(k-t) delta_k (Schulman et al. 2016, eq. 16)."""
    deltas = temporal_differences(rewards, values, terminated, mask, discount)
    done = np.asarray(terminated) | np.asarray(truncated)
    advantages = np.zeros_like(deltas)
    for t, b in itertools.product(range(deltas.shape[0]), range(deltas.shape[1])):
        for k in rows_summed(done[:, b], mask[:, b], t):
            advantages[t, b] += (discount * gae_lambda) ** (k - t) * deltas[k, b]
    return advantages


def discounted_returns(
    rewards: np.ndarray, done: np.ndarray, mask: np.ndarray, discount: float
) -> np.ndarray:
    """R_t = sum over the episode's rows so far, up to and including t, of discount^(t-k) r_k."""
    num_steps, num_envs = rewards.shape
    returns = np.zeros((num_steps, num_envs))
    for t, b in itertools.product(range(num_steps), range(num_envs)):
        for k in range(t, -1, -1):
            if not mask[k, b] or (k < t and done[k, b]):
                break
            returns[t, b] += discount ** (t - k) * rewards[k, b]
    return returns


class Episodes(NamedTuple):
    """A made-up rollout's numbers, all [T, B] but values [T+1, B]."""

    rewards: np.ndarray
    values: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    mask: np.ndarray


def random_episodes(
    rng: np.random.Generator, num_steps: int, num_envs: int, end_probability: float = 0.25
) -> Episodes:
    """Episodes that end at random rows in every way, each end followed by a dummy row."""
    shape = (num_steps, num_envs)
    terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
    mask = np.ones(shape, bool)
    for b in range(num_envs):
        ended = bool(rng.random() < end_probability)
        for t in range(num_steps):
            mask[t, b] = not ended
            ended = bool(mask[t, b] and rng.random() < end_probability)
            if ended:
                terminated[t, b], truncated[t, b] = ((1, 0), (0, 1), (1, 1))[rng.integers(3)]
    rewards = np.where(mask, rng.normal(size=shape), 0.0)
    return Episodes(
        rewards, rng.normal(size=(num_steps + 1, num_envs)), terminated, truncated, mask
    )


# --- divergences --------------------------------------------------------------------------------


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def normal_kl(
    old_loc: np.ndarray, old_scale: np.ndarray, new_loc: np.ndarray, new_scale: np.ndarray
) -> np.ndarray:
    """log(s'/s) + (s^2 + (m - m')^2) / (2 s'^2) - 1/2, entry by entry."""
    squares = old_scale**2 + (old_loc - new_loc) ** 2
    return np.log(new_scale / old_scale) + squares / (2 * new_scale**2) - 0.5


def full_normal_kl(
    old_loc: np.ndarray, old_tril: np.ndarray, new_loc: np.ndarray, new_tril: np.ndarray
) -> np.ndarray:
    """Between Gaussians of whole covariance matrices, row by row."""
    out = []
    for loc0, tril0, loc1, tril1 in zip(old_loc, old_tril, new_loc, new_tril, strict=True):
        covariance0, covariance1 = tril0 @ tril0.T, tril1 @ tril1.T
        inverse, difference = np.linalg.inv(covariance1), loc1 - loc0
        log_ratio = np.linalg.slogdet(covariance1)[1] - np.linalg.slogdet(covariance0)[1]
        trace = np.trace(inverse @ covariance0)
        out.append(0.5 * (trace + difference @ inverse @ difference - len(loc0) + log_ratio))
    return np.array(out)


def categorical_kl(old_logits: np.ndarray, new_logits: np.ndarray) -> np.ndarray:
    """sum_a p log(p / q) over the last axis; an impossible action (p = 0) adds nothing."""
    old, new = log_softmax(old_logits), log_softmax(new_logits)
    possible = np.isfinite(old)
    terms = np.where(possible, old, 0.0) - np.where(possible, new, 0.0)
    return np.sum(np.exp(old) * terms, axis=-1)


def bernoulli_kl(old_logits: np.ndarray, new_logits: np.ndarray) -> np.ndarray:
    pair_old = np.stack([np.zeros_like(old_logits), old_logits], axis=-1)
    pair_new = np.stack([np.zeros_like(new_logits), new_logits], axis=-1)
    return categorical_kl(pair_old, pair_new)


def digamma(x: np.ndarray) -> np.ndarray:
    """d/dx log Gamma(x) by recurrence to x >= 10 and the asymptotic series (A&S 6.3.18)."""
    x, shift = np.array(x, np.float64), np.zeros(np.shape(x))
    for _ in range(10):
        shift -= 1 / x
        x = x + 1
    inverse = 1 / x**2
    series = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)))
    return shift + np.log(x) - 0.5 / x - series


def beta_kl(
    old_a: np.ndarray, old_b: np.ndarray, new_a: np.ndarray, new_b: np.ndarray
) -> np.ndarray:
    log_gamma = np.vectorize(math.lgamma)

    def log_beta(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return log_gamma(a) + log_gamma(b) - log_gamma(a + b)

    return (
        log_beta(new_a, new_b)
        - log_beta(old_a, old_b)
        + (old_a - new_a) * digamma(old_a)
        + (old_b - new_b) * digamma(old_b)
        + (new_a - old_a + new_b - old_b) * digamma(old_a + old_b)
    )


def as_float64(tensor: Any) -> np.ndarray:
    return np.asarray(tensor, np.float64)


def _without_independent(distribution: Any) -> Any:
    return distribution.distribution if isinstance(distribution, tfd.Independent) else distribution


def kl_by_rows(old: Any, new: Any) -> np.ndarray:
    """KL(old || new) of every row in float64, from the parameters of two TFP distributions."""
    old_base, new_base = map(_without_independent, (old, new))
    if isinstance(old_base, tfd.Normal):
        pair = (old_base.loc, old_base.scale, new_base.loc, new_base.scale)
        rows = normal_kl(*map(as_float64, pair))
    elif isinstance(old_base, tfd.MultivariateNormalDiag):
        pair = (old.mean(), old.stddev(), new.mean(), new.stddev())
        rows = normal_kl(*map(as_float64, pair))
    elif isinstance(old_base, tfd.MultivariateNormalTriL):
        pair = (old.loc, old.scale.to_dense(), new.loc, new.scale.to_dense())
        return full_normal_kl(*map(as_float64, pair))
    elif isinstance(old_base, tfd.Categorical | tfd.OneHotCategorical):
        logits = (old_base.logits_parameter(), new_base.logits_parameter())
        rows = categorical_kl(*map(as_float64, logits))
    elif isinstance(old_base, tfd.Bernoulli):
        rows = bernoulli_kl(as_float64(old_base.logits), as_float64(new_base.logits))
    elif isinstance(old_base, tfd.Beta):
        pair = (
            old_base.concentration1,
            old_base.concentration0,
            new_base.concentration1,
            new_base.concentration0,
        )
        rows = beta_kl(*map(as_float64, pair))
    else:
        raise TypeError(f"no divergence written down for {type(old_base).__name__}")
    return rows.reshape(rows.shape[0], -1).sum(axis=1)


def weighted_mean(rows: np.ndarray, weights: np.ndarray | None = None) -> float:
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    kept = weights > 0
    return float(np.sum(rows[kept] * weights[kept]) / np.sum(weights[kept]))


# --- Fisher matrices ----------------------------------------------------------------------------


def all_actions(distribution: Any) -> tuple[np.ndarray, np.ndarray]:
    """Actions [K, N, *A] and probabilities [K, N] over which an expectation is exact.

    Sums over every action for discrete distributions; 5-point Gauss-Hermite products for
    Gaussians, exact up to degree 9 where the products of scores have degree 4; the trapezoidal
    rule in the logit of the action for Betas, which converges geometrically.
    """
    base = _without_independent(distribution)
    if isinstance(base, tfd.Categorical):
        return _all_categorical(as_float64(base.logits_parameter()))
    if isinstance(base, tfd.Bernoulli):
        logits = as_float64(base.logits)
        pairs = np.stack([np.zeros_like(logits), logits], axis=-1)
        return _all_categorical(pairs)
    if isinstance(base, tfd.Beta):
        return _beta_grid(as_float64(base.concentration1), as_float64(base.concentration0))
    if isinstance(base, tfd.MultivariateNormalTriL):
        return _gauss_hermite(as_float64(base.loc), as_float64(base.scale.to_dense()))
    scale = as_float64(distribution.stddev())
    diagonal = np.stack([np.diag(row) for row in scale])
    return _gauss_hermite(as_float64(distribution.mean()), diagonal)


def _all_categorical(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    log_probs = log_softmax(logits)
    if logits.ndim == 2:
        rows, classes = logits.shape
        actions = np.broadcast_to(np.arange(classes)[:, None], (classes, rows))
        return actions, np.exp(log_probs).T
    rows, size, classes = logits.shape
    combinations = list(itertools.product(range(classes), repeat=size))
    actions = np.stack([np.broadcast_to(combo, (rows, size)) for combo in combinations])
    probabilities = [
        np.exp(sum(log_probs[:, i, choice] for i, choice in enumerate(combo)))
        for combo in combinations
    ]
    return actions, np.stack(probabilities)


def _gauss_hermite(loc: np.ndarray, tril: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite.hermgauss(5)
    actions, probabilities = [], []
    for points in itertools.product(range(5), repeat=loc.shape[1]):
        standard = math.sqrt(2) * nodes[list(points)]
        actions.append(loc + tril @ standard)
        weight = math.prod(weights[i] for i in points) / math.pi ** (loc.shape[1] / 2)
        probabilities.append(np.full(len(loc), weight))
    return np.stack(actions), np.stack(probabilities)


def _beta_grid(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    log_gamma = np.vectorize(math.lgamma)
    log_beta = log_gamma(a) + log_gamma(b) - log_gamma(a + b)
    spacing, grid = 0.5, np.arange(-20.0, 20.25, 0.5)
    actions, probabilities = [], []
    for points in itertools.product(grid, repeat=a.shape[1]):
        u = np.array(points)
        log_density = -a * np.log1p(np.exp(-u)) - b * np.log1p(np.exp(u)) - log_beta
        actions.append(np.broadcast_to(1 / (1 + np.exp(-u)), a.shape))
        probabilities.append(np.exp(np.sum(log_density + math.log(spacing), axis=1)))
    return np.stack(actions), np.stack(probabilities)


def flatten(tensors: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.reshape(as_float64(t), -1) for t in tensors])


def score_fisher(
    distribution_fn: Callable[[], Any],
    variables: Sequence[tf.Variable],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """sum_n w_n E_a[score score^T] / sum_n w_n, with the expectation over actions exact."""
    actions, probabilities = all_actions(distribution_fn())
    num_rows = actions.shape[1]
    weights = np.ones(num_rows) if weights is None else np.asarray(weights, np.float64)
    with tf.GradientTape() as tape:
        distribution = distribution_fn()
        log_probs = distribution.log_prob(tf.cast(actions, distribution.dtype))
    jacobians = tape.jacobian(
        log_probs, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    scores = np.concatenate([np.reshape(j, (*actions.shape[:2], -1)) for j in jacobians], axis=2)
    return np.einsum("n,kn,knp,knq->pq", weights, probabilities, scores, scores) / weights.sum()


def kl_hessian(
    distribution_fn: Callable[[], Any],
    variables: Sequence[tf.Variable],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Hessian of the mean of TFP's own KL(old || new) in the new parameters, at new = old."""
    old = distribution_fn()
    frozen = tf.nest.pack_sequence_as(
        old,
        [tf.stop_gradient(t) for t in tf.nest.flatten(old, expand_composites=True)],
        expand_composites=True,
    )
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            rows = tfd.kl_divergence(frozen, distribution_fn())
            row_weights = tf.ones_like(rows) if weights is None else tf.cast(weights, rows.dtype)
            mean = tf.reduce_sum(rows * row_weights) / tf.reduce_sum(row_weights)
        gradients = inner.gradient(mean, variables)
        flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
    blocks = outer.jacobian(
        flat,
        variables,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
        experimental_use_pfor=False,
    )
    return np.concatenate([np.reshape(as_float64(b), (int(flat.shape[0]), -1)) for b in blocks], 1)


# --- a Markov decision process that linear algebra solves -----------------------------------------


class TabularMDP(NamedTuple):
    """transitions [S, A, S], rewards [S, A], initial [S], discount in [0, 1)."""

    transitions: np.ndarray
    rewards: np.ndarray
    initial: np.ndarray
    discount: float


def random_mdp(seed: int, num_states: int, num_actions: int, discount: float) -> TabularMDP:
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(num_states, 0.5), size=(num_states, num_actions))
    rewards = rng.normal(size=(num_states, num_actions))
    return TabularMDP(transitions, rewards, rng.dirichlet(np.ones(num_states)), discount)


def state_values(mdp: TabularMDP, action_probs: np.ndarray) -> np.ndarray:
    """V = (I - discount P_pi)^-1 r_pi."""
    transitions = np.einsum("sa,sat->st", action_probs, mdp.transitions)
    rewards = np.sum(action_probs * mdp.rewards, axis=1)
    return np.linalg.solve(np.eye(len(rewards)) - mdp.discount * transitions, rewards)


def exact_return(mdp: TabularMDP, action_probs: np.ndarray) -> float:
    return float(mdp.initial @ state_values(mdp, action_probs))


def exact_advantages(mdp: TabularMDP, action_probs: np.ndarray) -> np.ndarray:
    """A(s, a) = r(s, a) + discount E[V(s')] - V(s), [S, A]."""
    values = state_values(mdp, action_probs)
    return mdp.rewards + mdp.discount * mdp.transitions @ values - values[:, None]


def discounted_visits(mdp: TabularMDP, action_probs: np.ndarray) -> np.ndarray:
    """d(s) = sum_t discount^t P(s_t = s) = (I - discount P_pi^T)^-1 initial, not normalised."""
    transitions = np.einsum("sa,sat->st", action_probs, mdp.transitions)
    matrix = np.eye(len(mdp.initial)) - mdp.discount * transitions.T
    return np.linalg.solve(matrix, mdp.initial)


def return_gradient(mdp: TabularMDP, logits: np.ndarray) -> np.ndarray:
    """dJ/dlogits [S, A] of a softmax policy, by differentiating the linear system itself.

    J = initial^T (I - discount P_pi)^-1 r_pi, so dJ = d^T (dr_pi + discount dP_pi V), with
    d = discounted_visits; no policy-gradient theorem is used.
    """
    probs = np.exp(log_softmax(logits))
    values, visits = state_values(mdp, probs), discounted_visits(mdp, probs)
    gradient = np.zeros_like(logits)
    for s, a in itertools.product(*map(range, logits.shape)):
        direction = np.zeros_like(probs)
        direction[s] = -probs[s, a] * probs[s]
        direction[s, a] += probs[s, a]
        d_rewards = np.sum(direction * mdp.rewards, axis=1)
        d_transitions = np.einsum("sa,sat->st", direction, mdp.transitions)
        gradient[s, a] = visits @ (d_rewards + mdp.discount * d_transitions @ values)
    return gradient
