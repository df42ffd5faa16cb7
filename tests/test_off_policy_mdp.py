"""The correction for a stale policy is unbiased, where linear algebra knows the truth.

With ratios that are not truncated, β ≠ π_old, and either λ = 1 with any critic V and complete
episodes, or any λ with the exact critic of π_old:

    E_β[Â | s, a] = Q(s, a) − V(s)                      (= A(s, a) for the exact critic)
    E_β[V + Δ | s] = V^π_old(s)
    ∇ E_β[Σ_t π_θ/β Â_t] = Σ_s d_β(s) Σ_a ∇π_θ(a|s) A(s, a)   at π_θ = π_old

d_β(s) is how often an episode of β comes to s. The first half of the file takes every episode as
often as its probability says, so that means over rows are expectations and nothing is left to
chance; the second draws episodes at random and asks for agreement within error bars. What an
uncorrected estimator says of the same rows is shown to be wrong by far.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import categorical_kl, exact_advantages, log_softmax, return_gradient, state_values
from stale_episodes import (
    LAYERS,
    StaleEpisodes,
    TabularCritic,
    TabularPolicy,
    ending_mdp,
    enumerated,
    every_episode,
    layered_mdp,
    sampled,
)

from trpo_tf import functional, staleness
from trpo_tf.advantage import Advantage
from trpo_tf.batch_passes import BatchPasses
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import policy_version
from trpo_tf.trpo import TRPO
from trpo_tf.types import (
    FULL_CORRECTION,
    NO_CORRECTION,
    AdvantageEstimate,
    Batch,
    Correction,
    Rollout,
)
from trpo_tf.value_regression import ValueRegression

SEEDS = pytest.mark.parametrize("seed", range(3))
# (λ, whether the critic is exact): where the correction is unbiased.
UNBIASED = pytest.mark.parametrize(
    ("gae_lambda", "exact_critic"), [(1.0, False), (0.0, True), (0.5, True), (0.95, True)]
)
MAX_KL = 0.01
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


# --- what is compared ---------------------------------------------------------------------------


def critic(case: StaleEpisodes, exact: bool) -> np.ndarray:
    """The values of π_old, or any numbers, of every state."""
    return case.values if exact else 2 * np.random.default_rng(99).normal(size=case.values.shape)


def estimate(
    case: StaleEpisodes,
    values: np.ndarray,
    gae_lambda: float,
    corrected: bool = True,
    normalize: bool = False,
    trace_clip: float = np.inf,
) -> AdvantageEstimate:
    advantage = Advantage(
        case.mdp.discount, gae_lambda, normalize, None, trace_clip, importance_clip=np.inf
    )
    target = case.target_log_probs if corrected else None
    rows = advantage(case.rollout, values[case.rollout.observations], target)
    return AdvantageEstimate(*(part.numpy() for part in rows))


def importance_weights(case: StaleEpisodes, importance_clip: float = np.inf) -> np.ndarray:
    advantage = Advantage(case.mdp.discount, importance_clip=importance_clip)
    return advantage.importance_weights(case.rollout, case.target_log_probs).numpy()


def surrogate_gradient(
    case: StaleEpisodes, advantages: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """In the logits [S, A], as the optimizer composes it; of an episode's rows, the mean of all."""
    rollout = case.rollout
    policy = TabularPolicy(case.logits)
    batch = Batch(
        observations=tf.reshape(case.states, [-1]),
        actions=tf.reshape(rollout.actions, [-1]),
        advantages=tf.reshape(advantages, [-1]),
        behaviour_log_probs=tf.reshape(rollout.behaviour_log_probs, [-1]),
        weights=tf.reshape(tf.cast(rollout.mask, tf.float64), [-1]),
        importance_weights=tf.reshape(weights, [-1]),
    )
    passes = BatchPasses(
        lambda parameters, states: functional.apply(policy, parameters, states), batch, None
    )
    scale = passes.set_coefficients(batch.advantages * batch.importance_weights)
    gradient = scale * passes.gradient(functional.parameters(policy))
    rows_per_episode = rollout.mask.sum() / rollout.mask.shape[1]
    return rows_per_episode * gradient.numpy().reshape(case.logits.shape)


def true_gradient(case: StaleEpisodes, row_probs: np.ndarray | None = None) -> np.ndarray:
    """Σ_s d_β(s) Σ_a p(s, a) ∇log π(a|s) A(s, a) in the logits of π_old; p = π_old if not given."""
    row_probs = case.target if row_probs is None else row_probs
    rows = case.visits[:, None] * row_probs * exact_advantages(case.mdp, case.target)
    return rows - case.target * rows.sum(axis=1, keepdims=True)


def means(case: StaleEpisodes, rows: np.ndarray, by_action: bool) -> np.ndarray:
    """The mean of rows [T, B] in each state [S], or state and action [S, A]; NaN where none is."""
    shape = case.logits.shape if by_action else case.logits.shape[:1]
    places = (case.states, case.rollout.actions)[: len(shape)]
    cells = np.ravel_multi_index([place[case.rollout.mask] for place in places], shape)
    counts = np.bincount(cells, minlength=np.prod(shape))
    sums = np.bincount(cells, rows[case.rollout.mask], minlength=np.prod(shape))
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0).reshape(shape)


# --- every episode: expectations without chance ---------------------------------------------------


@functools.cache
def all_episodes(seed: int) -> StaleEpisodes:
    rng = np.random.default_rng(seed)
    mdp = layered_mdp(rng)
    first = rng.integers(1, 4, size=2 * LAYERS) / 4
    behaviour = np.stack([first, 1 - first], axis=1)
    return enumerated(mdp, behaviour, np.log(behaviour) + shifts(rng, behaviour.shape))


def shifts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of logits, in each state in another order, so that policies differ in every state."""
    spread = np.broadcast_to(np.linspace(-1, 1, shape[1]), shape)
    return rng.permuted(spread, axis=1) * rng.uniform(0.5, 0.9, size=(shape[0], 1))


@SEEDS
def test_the_truth_against_every_episode(seed: int) -> None:
    """The oracle first: values of both policies and d_β, by sums over episodes."""
    case = all_episodes(seed)
    for probs in (case.behaviour, case.target):
        expected_return, total = 0.0, 0.0
        for probability, rows in every_episode(case.mdp, probs):
            rewards = [case.mdp.discount**t * case.mdp.rewards[row] for t, row in enumerate(rows)]
            expected_return += probability * sum(rewards)
            total += probability
        close(total, 1)
        close(case.mdp.initial @ state_values(case.mdp, probs), expected_return)
    counts = np.bincount(case.states[case.rollout.mask], minlength=2 * LAYERS)
    close(counts / case.rollout.mask.shape[1], case.visits)
    kl = categorical_kl(np.log(case.behaviour), case.logits)
    assert kl.max() > 0.05


@SEEDS
def test_the_true_gradient(seed: int) -> None:
    """By differences of Σ_s d_β(s) Σ_a π_θ(a|s) A(s, a); on policy it is the return's gradient."""
    case = all_episodes(seed)
    differences = np.zeros_like(case.logits)
    for index in np.ndindex(case.logits.shape):
        shift = np.zeros_like(case.logits)
        shift[index] = 1e-6
        after, before = (
            case.visits
            @ np.sum(
                np.exp(log_softmax(case.logits + sign * shift))
                * exact_advantages(case.mdp, case.target),
                axis=1,
            )
            for sign in (1, -1)
        )
        differences[index] = (after - before) / 2e-6
    np.testing.assert_allclose(true_gradient(case), differences, atol=1e-8)
    undiscounted = case._replace(mdp=case.mdp._replace(discount=1.0), behaviour=case.target)
    close(true_gradient(undiscounted), return_gradient(undiscounted.mdp, case.logits))


@SEEDS
@UNBIASED
def test_advantages_and_targets_are_unbiased(
    seed: int, gae_lambda: float, exact_critic: bool
) -> None:
    case = all_episodes(seed)
    values = critic(case, exact_critic)
    rows = estimate(case, values, gae_lambda)
    close(means(case, rows.advantages, by_action=True), case.action_values - values[:, None])
    close(means(case, rows.value_targets, by_action=False), case.values)
    plain = estimate(case, values, gae_lambda, corrected=False)
    assert np.abs(means(case, plain.value_targets, by_action=False) - case.values).max() > 0.3
    if gae_lambda > 0:
        wrong = means(case, plain.advantages, by_action=True)
        assert np.abs(wrong - (case.action_values - values[:, None])).max() > 0.1


@SEEDS
@UNBIASED
def test_the_gradient_is_unbiased(seed: int, gae_lambda: float, exact_critic: bool) -> None:
    case = all_episodes(seed)
    values = critic(case, exact_critic)
    rows = estimate(case, values, gae_lambda)
    weights = importance_weights(case)
    expected = true_gradient(case)
    close(surrogate_gradient(case, rows.advantages, weights), expected)

    def error(advantages: np.ndarray, weights: np.ndarray) -> float:
        difference = surrogate_gradient(case, advantages, weights) - expected
        return float(np.abs(difference).max() / np.abs(expected).max())

    plain = estimate(case, values, gae_lambda, corrected=False).advantages
    ones = np.ones_like(weights)
    assert error(plain, ones) > 0.5
    assert error(rows.advantages, ones) > 0.5
    if gae_lambda > 0:
        assert error(plain, weights) > 0.05


@SEEDS
@pytest.mark.parametrize("gae_lambda", [0.5, 1.0])
@pytest.mark.parametrize("time_limit", [False, True])
def test_with_the_exact_critic_episodes_may_be_cut(
    seed: int, gae_lambda: float, time_limit: bool
) -> None:
    """After two steps, by a time limit or by the rollout's end: V stands for the rest."""
    case = all_episodes(seed)
    rollout = case.rollout
    if time_limit:
        step = np.arange(LAYERS)[:, None]
        rollout = rollout._replace(
            truncated=rollout.mask & ~rollout.terminated & (step == 1),
            mask=rollout.mask & (step < 2),
        )
    else:
        rollout = Rollout(rollout.observations[:3], *(rows[:2] for rows in rollout[1:]))
    cut = case._replace(rollout=rollout)
    rows = estimate(cut, case.values, gae_lambda)
    advantages = exact_advantages(case.mdp, case.target)
    close(means(cut, rows.advantages, by_action=True)[:4], advantages[:4])
    close(means(cut, rows.value_targets, by_action=False)[:4], case.values[:4])


@SEEDS
def test_a_wrong_critic_needs_lambda_1(seed: int) -> None:
    """Otherwise V enters as it does in GAE: the conditions above are conditions."""
    case = all_episodes(seed)
    values = critic(case, exact=False)
    rows = estimate(case, values, gae_lambda=0.5)
    assert np.abs(means(case, rows.value_targets, by_action=False) - case.values).max() > 0.1
    gradient = surrogate_gradient(case, rows.advantages, importance_weights(case))
    assert np.abs(gradient - true_gradient(case)).max() > 0.01


@SEEDS
def test_measures_of_staleness(seed: int) -> None:
    """E KL(β ‖ π_old) over d_β; and Kish's (E ρ)² / E ρ² with E ρ = 1."""
    case = all_episodes(seed)
    target, behaviour = (
        tf.reshape(part, [-1]) for part in (case.target_log_probs, case.rollout.behaviour_log_probs)
    )
    weights = tf.reshape(tf.cast(case.rollout.mask, tf.float64), [-1])
    share = case.visits / case.visits.sum()
    kl = categorical_kl(np.log(case.behaviour), case.logits)
    close(staleness.behaviour_kl(target, behaviour, weights), share @ kl)
    ratio = staleness.importance_ratio(target, behaviour)
    second_moment = share @ np.sum(case.target**2 / case.behaviour, axis=1)
    close(staleness.effective_sample_size(ratio, weights), 1 / second_moment)


# --- every episode, through the whole update ------------------------------------------------------


def update(
    case: StaleEpisodes,
    values: np.ndarray,
    correction: Correction = FULL_CORRECTION,
    normalize: bool = False,
    execution: Execution = Execution.GRAPH,
) -> tuple[np.ndarray, np.ndarray, Any]:
    """One step with λ = 1, damped so much that it follows the gradient: logits, values, info.

    The critic takes one full-batch step with a learning rate that undoes the square's 2.
    """
    policy, value_function = TabularPolicy(case.logits), TabularCritic(values)
    policy_version(policy).assign(1)
    trpo = TRPO(
        policy,
        value_function,
        Advantage(case.mdp.discount, 1.0, normalize, None, np.inf, importance_clip=np.inf),
        NaturalGradientOptimizer(KLConstraint(MAX_KL), damping=1e9),
        ValueRegression(keras.optimizers.SGD(0.5), epochs=1, minibatch_size=None),
        correction,
        execution=execution,
    )
    info = trpo.update(case.rollout)
    assert info.accepted
    assert info.policy_lag == 1
    return policy.logits.numpy(), value_function.values.numpy(), info


def direction(step: np.ndarray) -> np.ndarray:
    return step / np.linalg.norm(step)


@pytest.mark.parametrize(
    ("seed", "execution"), [(0, Execution.XLA), (1, Execution.GRAPH), (2, Execution.EAGER)]
)
def test_an_update_is_unbiased(seed: int, execution: Execution) -> None:
    """Step, surrogate, KL, trust region and critic, with an arbitrary critic to begin with."""
    case = all_episodes(seed)
    values = critic(case, exact=False)
    logits, new_values, info = update(case, values, execution=execution)
    np.testing.assert_allclose(
        direction(logits - case.logits), direction(true_gradient(case)), atol=1e-7
    )
    share = case.visits / case.visits.sum()
    judged = case.action_values - values[:, None]
    for probs, surrogate in (
        (case.target, info.surrogate_before),
        (np.exp(log_softmax(logits)), info.surrogate_after),
    ):
        close(surrogate, share @ np.sum(probs * judged, axis=1))
    close(info.kl, share @ categorical_kl(case.logits, logits))
    travelled = share @ categorical_kl(np.log(case.behaviour), case.logits)
    close(info.behaviour_kl, travelled)
    left = MAX_KL - (np.sqrt(travelled * (MAX_KL + travelled / 4)) - travelled / 2)
    np.testing.assert_allclose(info.max_kl, left, rtol=1e-6)
    close(new_values - values, share * (case.values - values), atol=1e-8)


@pytest.mark.parametrize(
    "correction",
    [NO_CORRECTION, Correction(traces=False), Correction(weights=False)],
    ids=["none", "no traces", "no weights"],
)
def test_an_update_without_its_correction_is_biased(correction: Correction) -> None:
    case = all_episodes(0)
    values = critic(case, exact=False)
    logits, new_values, _ = update(case, values, correction)
    error = np.linalg.norm(direction(logits - case.logits) - direction(true_gradient(case)))
    assert error > 0.1
    share = case.visits / case.visits.sum()
    difference = np.abs(new_values - values - share * (case.values - values)).max()
    assert difference < 1e-8 if correction.traces else difference > 0.1


@pytest.mark.parametrize("centring", [True, False])
def test_centring_leaves_the_gradient_unbiased(centring: bool) -> None:
    """Σ w ∇log π_old Ā has the mean 0 in every state, because E_β[π_old/β ∇log π_old | s] = 0.

    What the weights in Ā = E[wÂ]/E[w] are for is the surrogate itself, which they leave at 0.
    """
    case = all_episodes(0)
    values = critic(case, exact=False)
    logits, _, info = update(case, values, Correction(centring=centring), normalize=True)
    np.testing.assert_allclose(
        direction(logits - case.logits), direction(true_gradient(case)), atol=1e-7
    )
    surrogate = abs(info.surrogate_before)
    assert surrogate < 1e-12 if centring else surrogate > 1e-3


# --- every episode: the bias of truncated ratios --------------------------------------------------


def policy_between(case: StaleEpisodes, trace_clip: float) -> np.ndarray:
    """min(ρ̄ β, π_old), normalised: whose values truncated targets lead to (V-trace, eq. 3)."""
    probs = np.minimum(trace_clip * case.behaviour, case.target)
    return probs / probs.sum(axis=1, keepdims=True)


@functools.cache
def better_episodes(seed: int) -> StaleEpisodes:
    """The second action pays more and leads where the first leads; π_old takes it more often."""
    rng = np.random.default_rng(seed)
    mdp = layered_mdp(rng)
    mdp.transitions[:, 1] = mdp.transitions[:, 0]
    mdp.rewards[:, 1] = mdp.rewards[:, 0] + rng.uniform(0.5, 1.5, size=2 * LAYERS)
    second = rng.integers(1, 4, size=2 * LAYERS) / 4
    behaviour = np.stack([1 - second, second], axis=1)
    logits = np.log(behaviour)
    logits[:, 1] += rng.uniform(0.3, 1.5, size=2 * LAYERS)
    case = enumerated(mdp, behaviour, logits)
    for probs in (behaviour, case.target):
        assert np.all(exact_advantages(mdp, probs)[:, 1] > 0)
    assert np.all(case.target[:, 1] > behaviour[:, 1])
    return case


@SEEDS
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("trace_clip", [0.8, 1.0, 1.3])
def test_truncated_targets_lead_to_the_policy_between(
    seed: int, gae_lambda: float, trace_clip: float
) -> None:
    """Where V is already that policy's, the targets stay: E_β[min(ρ̄, π_old/β) δ | s] = 0.

    It is the fixed point of Espeholt et al. 2018, theorem 1, whatever λ and c̄ ≤ ρ̄.
    """
    case = all_episodes(seed)
    between = state_values(case.mdp, policy_between(case, trace_clip))
    rows = estimate(case, between, gae_lambda, trace_clip=trace_clip)
    close(means(case, rows.value_targets, by_action=False), between)
    assert np.abs(between - case.values).max() > 0.1


@SEEDS
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_the_sign_of_truncated_traces(seed: int, gae_lambda: float) -> None:
    """V^β < V^between < E[target] < V^π_old for the exact critic, where π_old is the better policy.

    Let a be the better action and ρ̄ = c̄ = 1. Truncation keeps the worse action's weight π_old and
    lowers the better one's to β, so with Σ_a π_old A = 0

        E_β[min(1, π_old/β) δ | s] = Σ_a min(β, π_old) A = −(π_old(a|s) − β(a|s)) A(s, a) < 0

    in every state, and traces only add such terms with weights ≥ 0: the targets lie below
    V^π_old. The policy between takes a with probability β(a) / (β(a) + 1 − π_old(a)), which lies
    between β(a) and π_old(a), so that its values lie between theirs (performance difference).
    They are the fixed point of the targets, and the targets never fall when V rises, because
    their factors of V, 1 − E ρ and γ E[ρ_t − λ c_t ρ_{t+1}], are ≥ 0 (Espeholt et al. 2018,
    appendix A): from V^π_old > V^between they lead to no less than V^between.

    Advantages fall with the targets of the next state; the last step has none.
    """
    case = better_episodes(seed)
    rows = estimate(case, case.values, gae_lambda, trace_clip=1.0)
    targets = means(case, rows.value_targets, by_action=False)
    chain = [
        state_values(case.mdp, case.behaviour),
        state_values(case.mdp, policy_between(case, 1.0)),
        targets,
        case.values,
    ]
    assert np.all(np.diff(chain, axis=0) > 1e-4)
    bias = means(case, rows.advantages, by_action=True) - exact_advantages(case.mdp, case.target)
    goes_on = case.mdp.transitions.sum(axis=2) > 0
    assert np.all(bias[goes_on] < -1e-4) if gae_lambda > 0 else np.abs(bias).max() < 1e-10
    close(bias[~goes_on], 0)


@SEEDS
@pytest.mark.parametrize("importance_clip", [0.8, 1.0, 1.5])
def test_truncated_weights_make_the_policy_of_the_rows(seed: int, importance_clip: float) -> None:
    """The gradient is that of rows drawn with min(w̄ β, π_old): no row loses its own."""
    case = all_episodes(seed)
    rows = estimate(case, case.values, 0.5)
    gradient = surrogate_gradient(case, rows.advantages, importance_weights(case, importance_clip))
    row_probs = np.minimum(importance_clip * case.behaviour, case.target)
    close(gradient, true_gradient(case, row_probs))


@SEEDS
def test_the_sign_of_truncated_weights(seed: int) -> None:
    """The better action's component shrinks and keeps its sign.

    For two actions, with A and π of the better one (the other's advantage is −πA / (1 − π)), rows
    that weigh ω = min(w̄β, π) there and 1 − π elsewhere give it the gradient

        d (ω (1 − π) + π²) A,   in (0, d π A] as 0 < ω ≤ π, with equality where nothing is truncated
    """
    case = better_episodes(seed)
    rows = estimate(case, case.values, 0.5)
    clipped = surrogate_gradient(case, rows.advantages, importance_weights(case, 1.0))[:, 1]
    whole = surrogate_gradient(case, rows.advantages, importance_weights(case))[:, 1]
    probs, advantages = case.target[:, 1], exact_advantages(case.mdp, case.target)[:, 1]
    close(whole, case.visits * probs * advantages)
    factor = case.behaviour[:, 1] * (1 - probs) + probs**2
    close(clipped, case.visits * factor * advantages)
    assert np.all(clipped > 0)
    assert np.all(clipped < whole - 1e-4)


# --- random episodes: within error bars -----------------------------------------------------------

NUM_EPISODES = 80_000
# Of the largest of about 20 components: exceeded by chance once in 7,000 seeds.
SIGMAS, WRONG = 4.5, 10


@functools.cache
def random_episodes(seed: int) -> StaleEpisodes:
    rng = np.random.default_rng(100 + seed)
    mdp = ending_mdp(rng)
    logits = rng.normal(scale=0.7, size=mdp.rewards.shape)
    behaviour = np.exp(log_softmax(logits + shifts(rng, logits.shape)))
    return sampled(mdp, behaviour, logits, NUM_EPISODES, seed)


def per_episode(case: StaleEpisodes, rows: np.ndarray) -> np.ndarray:
    """Rows [T, B] summed over each episode's visits to a state and action, [B, S, A]."""
    mask = case.rollout.mask
    shape = (mask.shape[1], *case.logits.shape)
    episodes = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    places = (episodes, case.states, case.rollout.actions)
    cells = np.ravel_multi_index([place[mask] for place in places], shape)
    return np.bincount(cells, rows[mask], minlength=np.prod(shape)).reshape(shape)


def scores(case: StaleEpisodes, rows: np.ndarray) -> np.ndarray:
    """Each episode's part of the gradient whose rows weigh `rows`, [B, S, A], by hand."""
    sums = per_episode(case, rows)
    return sums - case.target * sums.sum(axis=2, keepdims=True)


def sigmas(samples: np.ndarray, expected: Any = 0.0) -> float:
    """How many standard errors the mean of independent samples [B, …] is off, at the most."""
    errors = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return float(np.max(np.abs(samples.mean(axis=0) - expected) / errors))


def off_by(
    case: StaleEpisodes, values: np.ndarray, rows: AdvantageEstimate, weights: np.ndarray
) -> dict[str, float]:
    """Standard errors between estimates and truth."""
    states, actions = case.states, case.rollout.actions
    judged = (case.action_values - values[:, None])[states, actions]
    parts = scores(case, weights * rows.advantages)
    close(surrogate_gradient(case, rows.advantages, weights), parts.mean(axis=0))
    targets = per_episode(case, rows.value_targets - case.values[states])
    return {
        "gradient": sigmas(parts, true_gradient(case)),
        "advantages": sigmas(per_episode(case, rows.advantages - judged)),
        "value_targets": sigmas(targets.sum(axis=2)),
    }


@pytest.mark.parametrize("seed", range(2))
@UNBIASED
def test_within_error_bars(seed: int, gae_lambda: float, exact_critic: bool) -> None:
    case = random_episodes(seed)
    values = critic(case, exact_critic)
    weights = importance_weights(case)
    right = off_by(case, values, estimate(case, values, gae_lambda), weights)
    assert max(right.values()) < SIGMAS, right
    plain = estimate(case, values, gae_lambda, corrected=False)
    wrong = off_by(case, values, plain, np.ones_like(weights))
    if gae_lambda == 0:
        # One step has no trace to correct.
        assert wrong.pop("advantages") < SIGMAS
    assert min(wrong.values()) > WRONG, wrong


@pytest.mark.parametrize("seed", range(2))
def test_centred_within_error_bars(seed: int) -> None:
    case = random_episodes(seed)
    values = critic(case, exact=False)
    mask, weights = case.rollout.mask, importance_weights(case)
    raw, centred = (
        estimate(case, values, 1.0, normalize=normalize).advantages for normalize in (False, True)
    )
    assert abs(np.mean((weights * centred)[mask])) < 1e-12
    centre = np.average(raw[mask], weights=weights[mask])
    deviation = np.sqrt(np.mean((raw[mask] - centre) ** 2))
    parts = scores(case, weights * deviation * centred)
    close(deviation * surrogate_gradient(case, centred, weights), parts.mean(axis=0))
    assert sigmas(parts, true_gradient(case)) < SIGMAS
    assert sigmas(scores(case, deviation * centred), true_gradient(case)) > WRONG


@pytest.mark.parametrize("seed", range(2))
def test_distance_within_error_bars(seed: int) -> None:
    case = random_episodes(seed)
    log_ratio = case.target_log_probs - case.rollout.behaviour_log_probs
    parts = per_episode(case, np.expm1(log_ratio) - log_ratio).sum(axis=(1, 2))
    kl = categorical_kl(np.log(case.behaviour), case.logits)
    assert sigmas(parts, case.visits @ kl) < SIGMAS
    reverse = categorical_kl(case.logits, np.log(case.behaviour))
    assert sigmas(parts, case.visits @ reverse) > WRONG
    rows = (case.target_log_probs, case.rollout.behaviour_log_probs, case.rollout.mask)
    target, behaviour, weights = (tf.reshape(tf.cast(part, tf.float64), [-1]) for part in rows)
    measured = staleness.behaviour_kl(target, behaviour, weights)
    close(measured, parts.sum() / case.rollout.mask.sum())
