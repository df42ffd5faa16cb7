"""Rollouts on disk: there and back, refused whole when damaged, and enough to learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from logged_rollouts import PLAIN, SPACES, assert_equal, logged_rollout

from trpo_tf import atomic_files
from trpo_tf.advantage import Advantage
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.npz_file import npz_bytes, read_npz
from trpo_tf.policies import make_policy
from trpo_tf.rollout_check import checked_rollouts
from trpo_tf.rollout_files import read_rollouts, save_rollout
from trpo_tf.rollout_rows import critic_values, make_batch, target_log_probs
from trpo_tf.samplers import Sampler
from trpo_tf.space_json import space_to_json
from trpo_tf.types import Rollout
from trpo_tf.value_function import make_value_function
from trpo_tf.value_regression import ValueRegression


def saved(path: Path, spaces: tuple[gym.Space, gym.Space] = PLAIN, **changes: Any) -> Rollout:
    rollout = logged_rollout(*spaces, **changes)
    save_rollout(path, rollout, *spaces)
    return rollout


def without_versions(rollout: Rollout) -> Rollout:
    return rollout._replace(policy_version=np.full(rollout.mask.shape, -1))


def rewrite(path: Path, **arrays: np.ndarray | None) -> None:
    """Changes or removes arrays of a file."""
    changed = {**read_npz(path), **arrays}
    path.write_bytes(npz_bytes({k: array for k, array in changed.items() if array is not None}))


def record(**changes: Any) -> np.ndarray:
    content = {
        "format": "trpo_tf rollout 1",
        "observation_space": space_to_json(PLAIN[0]),
        "action_space": space_to_json(PLAIN[1]),
    }
    return np.frombuffer(json.dumps({**content, **changes}).encode(), np.uint8)


@pytest.mark.parametrize("name", SPACES)
def test_there_and_back(tmp_path: Path, name: str) -> None:
    rollouts = [saved(tmp_path / f"{seed}.npz", SPACES[name], seed=seed) for seed in (2, 0, 1)]
    dataset = read_rollouts(tmp_path, *SPACES[name])
    assert len(dataset) == 3
    for found, expected in zip(dataset, [rollouts[index] for index in (1, 2, 0)], strict=True):
        assert_equal(found, without_versions(expected))
    [found] = read_rollouts(tmp_path / "2.npz", *SPACES[name], keep_versions=True)
    assert_equal(found, rollouts[0])
    # What a checked dataset gives is what the files give.
    [found] = checked_rollouts(tf.data.Dataset.from_tensors(rollouts[0]), *SPACES[name])
    assert_equal(next(iter(read_rollouts(tmp_path / "2.npz", *SPACES[name]))), found)


def test_numpy_reads_the_files(tmp_path: Path) -> None:
    rollout = saved(tmp_path / "0.npz", SPACES["dict"])
    with np.load(tmp_path / "0.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["rewards"], rollout.rewards)
        np.testing.assert_array_equal(arrays["observations['eye']"], rollout.observations["eye"])


def test_files_in_the_order_that_is_given(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.npz" for seed in range(3)]
    rollouts = [saved(path, seed=seed) for seed, path in enumerate(paths)]
    order = (2, 0, 2)
    dataset = read_rollouts((str(paths[index]) for index in order), *PLAIN)
    for found, index in zip(dataset, order, strict=True):
        assert_equal(found, without_versions(rollouts[index]))


def test_sizes_are_known_where_all_files_agree(tmp_path: Path) -> None:
    saved(tmp_path / "0.npz")
    saved(tmp_path / "1.npz", seed=1)
    spec = read_rollouts(tmp_path, *PLAIN).element_spec
    assert spec.observations.shape == (4, 2, 3)
    assert spec.rewards.shape == (3, 2)
    saved(tmp_path / "2.npz", steps=5)
    dataset = read_rollouts(tmp_path, *PLAIN)
    assert dataset.element_spec.observations.shape.as_list() == [None, 2, 3]
    assert [rollout.rewards.shape[0] for rollout in dataset] == [3, 3, 5]
    saved(tmp_path / "3.npz", envs=1)
    spec = read_rollouts(tmp_path, *PLAIN).element_spec
    assert spec.observations.shape.as_list() == [None, None, 3]


def test_files_of_other_floats_do_not_mix(tmp_path: Path) -> None:
    rollout = saved(tmp_path / "0.npz")
    wide = rollout._replace(rewards=rollout.rewards.astype(np.float64))
    save_rollout(tmp_path / "1.npz", wide, *PLAIN)
    with pytest.raises(
        ValueError, match=r"1\.npz holds rewards of float64, files before .*two dat"
    ):
        read_rollouts(tmp_path, *PLAIN)
    assert [len(read_rollouts(tmp_path / f"{file}.npz", *PLAIN)) for file in (0, 1)] == [1, 1]


def test_one_file_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        saved(tmp_path / f"{seed}.npz", seed=seed)
    dataset = read_rollouts(tmp_path, *PLAIN)
    read: list[str] = []

    def counted(path: Path) -> Any:
        read.append(path.name)
        return read_npz(path)

    monkeypatch.setattr("trpo_tf.rollout_files.read_npz", counted)
    rows = iter(dataset)
    next(rows)
    assert read == ["0.npz"]
    next(rows)
    assert read == ["0.npz", "1.npz"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "log" / "0.npz"
    saved(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"not overwritten: '.*0\.npz'"):
        saved(path, seed=1)
    assert path.read_bytes() == before
    (tmp_path / "link.npz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        saved(tmp_path / "link.npz")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*0\.npz'"):
        saved(tmp_path / "0.npz")
    assert list(tmp_path.iterdir()) == []


def test_bad_rollouts_and_names_are_not_written(tmp_path: Path) -> None:
    rollout = logged_rollout(*PLAIN)
    with pytest.raises(ValueError, match=r"must end in \.npz, got .*0\.npy"):
        save_rollout(tmp_path / "0.npy", rollout, *PLAIN)
    rewards = np.full((3, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match="rewards must be finite"):
        save_rollout(tmp_path / "0.npz", rollout._replace(rewards=rewards), *PLAIN)
    with pytest.raises(ValueError, match="must have behaviour_log_probs"):
        save_rollout(tmp_path / "0.npz", rollout._replace(behaviour_log_probs=None), *PLAIN)
    with pytest.raises(ValueError, match="observations must have shape"):
        save_rollout(tmp_path / "0.npz", rollout, gym.spaces.Box(-1, 1, (4,)), PLAIN[1])
    assert list(tmp_path.iterdir()) == []


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_rollouts(tmp_path / "nowhere", *PLAIN)
    with pytest.raises(ValueError, match=r"holds no \.npz files\. Write rollouts to it"):
        read_rollouts(tmp_path, *PLAIN)
    with pytest.raises(ValueError, match="at least one file"):
        read_rollouts([], *PLAIN)
    saved(tmp_path / "0.npz")
    with pytest.raises(FileNotFoundError, match=r"1\.npz"):
        read_rollouts([tmp_path / "0.npz", tmp_path / "1.npz"], *PLAIN)
    # What a killed writer left is no rollout.
    (tmp_path / ".tmp-1.npz-0123456789ab").write_bytes(b"half")
    (tmp_path / ".hidden.npz").write_bytes(b"half")
    assert len(read_rollouts(tmp_path, *PLAIN)) == 1


def nan_in(name: str) -> Any:
    def spoil(path: Path) -> None:
        array = np.array(read_npz(path)[name])
        array[2, 1] = np.nan
        rewrite(path, **{name: array})

    return spoil


BAD: dict[str, tuple[Any, str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "no_log_probs": (
        lambda path: rewrite(path, behaviour_log_probs=None),
        "cannot be used: a rollout must have behaviour_log_probs",
    ),
    "no_rewards": (lambda path: rewrite(path, rewards=None), r"missing: \['rewards'\]"),
    "unknown": (lambda path: rewrite(path, more=np.zeros(1)), r"unknown: \['more'\]"),
    "nan_observations": (nan_in("observations"), "cannot be used: observations must be finite"),
    "nan_log_probs": (nan_in("behaviour_log_probs"), "behaviour_log_probs must be finite"),
    "nan_rewards": (nan_in("rewards"), "cannot be used: rewards must be finite"),
    "probabilities": (
        lambda path: rewrite(path, behaviour_log_probs=np.full((3, 2), 0.5, np.float32)),
        "must be logarithms of probabilities",
    ),
    "other_shape": (lambda path: rewrite(path, rewards=np.zeros([2, 2])), "T >= 1 steps of B >= 1"),
    "other_dtype": (
        lambda path: rewrite(path, actions=np.zeros([3, 2])),
        "actions must be of dtype int32 or int64, got float64",
    ),
    "no_record": (
        lambda path: rewrite(path, record=None),
        "it is no 'trpo_tf rollout 1'.* or give",
    ),
    "other_format": (lambda path: rewrite(path, record=record(format="x")), "it is no 'trpo_tf"),
    "record_list": (lambda path: rewrite(path, record=np.uint8([91, 93])), "it is no 'trpo_tf rol"),
    "record_binary": (lambda path: rewrite(path, record=np.uint8([200, 0])), "cannot be used: "),
    "record_deep": (
        lambda path: rewrite(path, record=np.full(100_000, ord("["), np.uint8)),
        "cannot be used: ",
    ),
    "record_without_space": (
        lambda path: rewrite(path, record=record(action_space=None)),
        "cannot be used: space must have a type",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_before_anything_is_given(tmp_path: Path, name: str) -> None:
    spoil, message = BAD[name]
    saved(tmp_path / "0.npz")
    saved(tmp_path / "1.npz", seed=1)
    spoil(tmp_path / "1.npz")
    with pytest.raises(ValueError, match=message) as raised:
        read_rollouts(tmp_path, *PLAIN)
    assert str(raised.value).startswith(str(tmp_path / "1.npz"))
    assert "\n" not in str(raised.value)


def test_a_file_that_goes_bad_later_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    saved(path)
    dataset = read_rollouts(path, *PLAIN)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(tf.errors.OpError, match=r"0\.npz is damaged"):
        next(iter(dataset))
    path.unlink()
    with pytest.raises(tf.errors.OpError, match=r"0\.npz"):
        next(iter(dataset))


OTHERS: dict[str, tuple[gym.Space, gym.Space]] = {
    "shape": (gym.spaces.Box(-1, 1, (4,)), PLAIN[1]),
    "kind": (gym.spaces.Box(0, 255, (3,), np.uint8), PLAIN[1]),
    "structure": (gym.spaces.Dict(eye=PLAIN[0]), PLAIN[1]),
    "choices": (PLAIN[0], gym.spaces.Discrete(3)),
    "start": (PLAIN[0], gym.spaces.Discrete(2, start=1)),
    "multi": (PLAIN[0], gym.spaces.MultiDiscrete([2])),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_spaces_are_refused(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "0.npz")
    kind = "observation" if OTHERS[name][0] is not PLAIN[0] else "action"
    with pytest.raises(ValueError, match=rf"0\.npz cannot be used: its {kind} space is .*, expect"):
        read_rollouts(tmp_path, *OTHERS[name])


def test_bounds_count_for_actions_only(tmp_path: Path) -> None:
    spaces = SPACES["box"]
    saved(tmp_path / "0.npz", spaces)
    wide = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    assert len(read_rollouts(tmp_path, wide, spaces[1])) == 1
    with pytest.raises(ValueError, match="its action space is"):
        read_rollouts(tmp_path, spaces[0], gym.spaces.Box(-2, 2, (2,)))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    saved(path, steps=1, envs=1)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"0\.npz is damaged"):
            read_rollouts(path, *PLAIN)


def test_a_byte_turned_anywhere_is_refused_or_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    expected = without_versions(saved(path, steps=1, envs=1))
    content = path.read_bytes()
    settled = 0
    positions = range(0, len(content), 13)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            dataset = read_rollouts(path, *PLAIN)
        except ValueError as error:
            settled += str(error).startswith(str(path))
        else:
            # Dates and the like, which no array depends on.
            assert_equal(next(iter(dataset)), expected)
            settled += 1
    assert settled == len(positions)


def test_a_log_alone_is_enough_to_learn_from(tmp_path: Path) -> None:
    env = gym.make_vec("CartPole-v1", num_envs=16)
    spaces = env.single_observation_space, env.single_action_space
    logger = Sampler(env, make_policy(*spaces), num_steps=128)
    returns = []
    for number in range(8):
        rollout, episodes = logger.collect()
        returns.append(episodes.returns)
        save_rollout(tmp_path / f"{number}.npz", rollout, *spaces)
    logged = np.concatenate(returns)

    policy = make_policy(*spaces, seed=1)
    critic = make_value_function(spaces[0], seed=1)
    advantage = Advantage()
    optimizer = NaturalGradientOptimizer(KLConstraint(max_kl=0.02))
    regression = ValueRegression(epochs=5)
    for rollout in read_rollouts(tmp_path, *spaces).repeat(2):
        log_probs = target_log_probs(policy, rollout)
        estimate = advantage(rollout, critic_values(critic, rollout), target_log_probs=log_probs)
        batch = make_batch(rollout, estimate)
        info = optimizer.step(policy, batch)
        targets = tf.reshape(estimate.value_targets, [-1])
        regression.fit(critic, batch.observations, targets, batch.weights)
    assert info.behaviour_kl > 0.05

    learnt = Sampler(env, policy, num_steps=512, seed=1).collect()[1].returns
    error = np.hypot(*(sample.std() / np.sqrt(len(sample)) for sample in (logged, learnt)))
    print(f"logged {logged.mean():.1f}, learnt {learnt.mean():.1f}, error {error:.1f}")
    assert learnt.mean() - logged.mean() > 8 * error
