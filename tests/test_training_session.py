"""Runs that begin, begin from another's weights, or go on: settings, weights, refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bandit
import gymnasium as gym
import numpy as np
import pytest

from trpo_tf import assembly, training_session
from trpo_tf.checkpoint import latest_checkpoint, save_checkpoint
from trpo_tf.config import TRPOConfig, setting_names
from trpo_tf.manifest import write_manifest
from trpo_tf.npz_file import npz_bytes
from trpo_tf.run_directory import load_run
from trpo_tf.training_session import FIXED_SETTINGS, Finished, Session, changed_record

PROGRESS = {
    "update": 0,
    "env_steps": 0,
    "wall_time": 0.0,
    "recent_returns": [],
    "recent_lengths": [],
}
GIVEN = {"env": "Bandit", **bandit.SMALL, "total_steps": 64}


@pytest.fixture(autouse=True)
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with bandit.registered():
        yield


@contextlib.contextmanager
def begun(logdir: str, init_from: str | None = None, **changes: Any) -> Iterator[Session]:
    given = {**GIVEN, **changes} if init_from is None else changes
    config, origins = training_session.settle(given, init_from)
    session = training_session.begin(config, origins, logdir, ["train"], init_from)
    with contextlib.closing(session):
        yield session


def save(session: Session, **state: Any) -> None:
    components = session.components
    counters = {
        "env_steps": 0,
        "sampler": components.sampler.state(),
        "progress": PROGRESS,
        "best_return": None,
        "exported": None,
        **state,
    }
    version = int(components.trpo.policy_version.numpy())
    save_checkpoint(
        session.run.checkpoints_path,
        version,
        components.trpo.checkpointables(),
        counters,
        arrays=components.sampler.exact_state(),
    )


def test_settings_are_settled_from_flags_preset_and_defaults() -> None:
    config, origins = training_session.settle({"env": "CartPole", "seed": 3})
    assert config.env == "CartPole-v1"
    assert (origins["env"], origins["damping"]) == ("flag", "preset CartPole")


def test_what_auto_stands_for_is_settled_when_a_run_begins() -> None:
    config, origins = training_session.settle({"env": "CartPole"})
    assert (config.vectorization, origins["vectorization"]) == ("sync", "auto")
    config, origins = training_session.settle({"env": "CartPole", "vectorization": "async"})
    assert (config.vectorization, origins["vectorization"]) == ("async", "flag")


def test_a_new_run_has_its_record_and_the_configured_parts() -> None:
    with begun("one") as session:
        record = session.run.record
        assert record.config.env == "Bandit-v0"
        assert record.sessions[0]["command_line"] == ["train"]
        assert session.state == {}
        assert not session.is_resumed
        assert session.components.sampler.num_steps == 16


def test_a_refused_environment_leaves_no_run_behind() -> None:
    config = TRPOConfig(**{**GIVEN, "env": "Unreadable-v0"})
    with pytest.raises((TypeError, ValueError), match="Text"):
        training_session.begin(config, {}, "one", [])
    assert not Path("one").exists()


@pytest.mark.parametrize("sampler", ["sync", "async"])
def test_resuming_gives_back_every_variable_and_counter(sampler: str) -> None:
    with begun("one", sampler=sampler) as session:
        for _ in range(2):
            rollout, _ = session.components.sampler.collect()
            session.components.trpo.update(rollout)
        save(session, env_steps=64, best_return=1.5)
        policy = session.components.policy
        weights = policy.get_weights()
        scaling = session.components.trpo.advantage.return_scaling
        assert scaling is not None
        assert np.all(scaling.discounted_return.numpy() != 0)
    resumed = training_session.resume({"total_steps": 128}, "one", ["again"])
    assert isinstance(resumed, Session)
    with contextlib.closing(resumed):
        assert resumed.is_resumed
        assert resumed.state["best_return"] == 1.5
        assert not resumed.environments_go_on
        counters = {"next_step": 32, "env_steps": 64}
        assert resumed.components.sampler.state().items() >= counters.items()
        assert int(resumed.components.trpo.policy_version.numpy()) == 2
        for ours, theirs in zip(resumed.components.policy.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        restored = resumed.components.trpo.advantage.return_scaling
        assert restored is not None
        assert float(restored.scale) == float(scaling.scale)
        # The environments begin new episodes.
        np.testing.assert_array_equal(restored.discounted_return, [0, 0])
        record = resumed.run.record
        assert [session["command_line"] for session in record.sessions] == [["train"], ["again"]]
        assert (record.config.total_steps, record.origins["total_steps"]) == (
            128,
            "flag on resuming",
        )


def stopped_in_cartpole() -> np.ndarray:
    """Saves a run in environments that can be put back; returns the returns under way."""
    with begun("one", env="CartPole", vectorization="sync") as session:
        rollout, _ = session.components.sampler.collect()
        session.components.trpo.update(rollout)
        save(session)
        scaling = session.components.trpo.advantage.return_scaling
        assert scaling is not None
        return scaling.discounted_return.numpy()


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [({}, True), ({"vectorization": "async"}, False), ({"sampler": "async"}, False)],
    ids=["as it was", "in processes", "in the background"],
)
def test_environments_and_their_returns_go_on_where_they_can(
    changes: dict[str, Any], goes_on: bool
) -> None:
    under_way = stopped_in_cartpole()
    assert under_way.any()
    resumed = training_session.resume(changes, "one", [])
    assert isinstance(resumed, Session)
    with contextlib.closing(resumed):
        assert resumed.environments_go_on == goes_on
        restored = resumed.components.trpo.advantage.return_scaling
        assert restored is not None
        np.testing.assert_array_equal(restored.discounted_return, under_way * goes_on)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "'autoreset' must be bool[2], got nothing"),
        ({"autoreset": np.zeros(2, bool), "x": np.zeros(1)}, "'classic_control.cartpole."),
    ],
)
def test_a_hostile_state_of_the_environments_is_refused_with_one_line(
    arrays: dict[str, np.ndarray], message: str
) -> None:
    stopped_in_cartpole()
    found = latest_checkpoint("one/checkpoints")
    assert found is not None
    (found.path / "arrays.npz").write_bytes(npz_bytes(arrays))
    (found.path / "manifest.json").unlink()
    write_manifest(found.path, "checkpoint 1")
    with pytest.raises(ValueError, match="cannot be continued from") as refused:
        training_session.resume({}, "one", [])
    text = str(refused.value)
    assert text.startswith("one/checkpoints/000000001 cannot be continued from: the state of the")
    assert message in text
    assert text.endswith("Remove it to go on from the checkpoint before.")
    assert "\n" not in text


@pytest.mark.parametrize("final", [None, 0.002])
def test_the_critics_rate_can_be_changed_on_resuming(final: float | None) -> None:
    with begun("one", value_learning_rate=0.01, value_learning_rate_final=final) as session:
        rollout, _ = session.components.sampler.collect()
        session.components.trpo.update(rollout)
        save(session)

    def rate(**changes: float | None) -> float:
        resumed = training_session.resume(changes, "one", [])
        assert isinstance(resumed, Session)
        with contextlib.closing(resumed):
            optimizer = resumed.components.trpo.value_regression.optimizer
            assert int(optimizer.iterations) == 1
            return float(optimizer.learning_rate)

    # One of the run's two steps is made: halfway from the first rate to the last.
    assert rate() == pytest.approx(0.01 if final is None else 0.006)
    assert rate(value_learning_rate=0.05, value_learning_rate_final=0.03) == pytest.approx(0.04)
    assert rate(value_learning_rate=0.05, value_learning_rate_final=None) == pytest.approx(0.05)


def test_a_run_that_has_done_all_says_so_unless_there_is_more_to_do() -> None:
    with begun("one") as session:
        save(session, env_steps=64, exported="model/1")
    assert training_session.resume({}, "one", []) == Finished(64, "model/1")
    more = training_session.resume({"total_steps": 65}, "one", [])
    assert isinstance(more, Session)
    more.close()


def test_a_run_without_a_checkpoint_begins_again() -> None:
    begun("one").__enter__().close()
    session = training_session.resume({}, "one", [])
    assert isinstance(session, Session)
    with contextlib.closing(session):
        assert session.state == {}
        assert session.is_resumed


def contents(logdir: str) -> dict[str, bytes]:
    files = [path for path in Path(logdir).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("is_empty", [True, False])
@pytest.mark.parametrize(
    ("kept", "text", "left"),
    [
        ("progress.csv", "update,kl\n1,0.01\n", r"rows in progress\.csv"),
        ("progress.csv", "update,kl\n1,0", r"rows in progress\.csv"),
        ("best_policy/1/saved_model.pb", "", "a policy in best_policy"),
    ],
)
def test_a_run_whose_checkpoints_are_gone_is_not_begun_again(
    kept: str, text: str, left: str, is_empty: bool
) -> None:
    with begun("one") as session:
        save(session)
    shutil.rmtree("one/checkpoints")
    if is_empty:
        Path("one/checkpoints").mkdir()
    Path("one", kept).parent.mkdir(parents=True, exist_ok=True)
    Path("one", kept).write_text(text)
    before = contents("one")
    expected = f"The checkpoints of one are gone: it has {left}, .* Restore .* another logdir"
    with pytest.raises(ValueError, match=expected):
        training_session.resume({}, "one", [])
    assert contents("one") == before


def test_a_table_without_rows_is_no_sign_of_a_checkpoint() -> None:
    begun("one").__enter__().close()
    Path("one/progress.csv").write_text("update,kl\n")
    session = training_session.resume({}, "one", [])
    assert isinstance(session, Session)
    session.close()


@pytest.mark.parametrize("name", FIXED_SETTINGS)
def test_what_was_decided_at_the_start_cannot_change(name: str) -> None:
    other: dict[str, Any] = {
        "env": "CartPole",
        "env_kwargs": {"length": 3},
        "num_envs": 3,
        "seed": 1,
        "scale_returns": False,
        "hidden_sizes": (8,),
        "activation": "relu",
        "initial_log_std": -1.0,
        "state_dependent_std": True,
        "mean_limit": 1.0,
        "clipped_likelihood": True,
        "normalize_observations": False,
        "rescale_actions": True,
    }
    with begun("one") as session:
        same = {name: getattr(session.run.record.config, name)}
        assert training_session.changed_record(same, "one") == session.run.record
        with pytest.raises(ValueError, match=f"^{name} cannot be .*: one was begun with"):
            training_session.changed_record({name: other[name]}, "one")


def test_all_else_may_change_and_is_checked() -> None:
    free = set(setting_names()) - set(FIXED_SETTINGS)
    assert {"total_steps", "max_kl", "eval_every", "checkpoint_every", "discount"} <= free
    with begun("one"), pytest.raises(ValueError, match="max_kl must be > 0"):
        training_session.changed_record({"max_kl": -1.0}, "one")


def test_modules_and_clusters_that_a_record_names_are_trusted_by_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with begun("run") as session:
        record = session.run.record
        config = dataclasses.replace(
            record.config, env="antigravity:CartPole-v1", sampler="ray", ray_address="10.0.0.1:1"
        )
        session.run.rewrite_record(dataclasses.replace(record, config=config))
    with pytest.raises(ValueError, match="would be imported"):
        changed_record({"ray_address": None}, "run")
    monkeypatch.setitem(sys.modules, "antigravity", types.ModuleType("antigravity"))
    env = {"env": "antigravity:CartPole-v1"}
    with pytest.raises(ValueError, match="Give --ray_address if"):
        changed_record(env, "run")
    for address in ("10.0.0.1:1", None):
        given = {**env, "ray_address": address}
        assert changed_record(given, "run").config.ray_address == address


def test_an_environment_that_has_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with begun("one") as session:
        save(session)
    monkeypatch.setattr(bandit.Bandit, "action_space", gym.spaces.Box(-1, 1, (2,)))
    with pytest.raises(ValueError, match="action space"):
        training_session.resume({}, "one", [])


def test_weights_and_statistics_of_another_run_are_taken() -> None:
    with begun("one", activation="relu", initial_log_std=-1.0) as session:
        rollout, _ = session.components.sampler.collect()
        session.components.trpo.update(rollout)
        save(session)
    with begun("two", init_from="one", num_envs=3, total_steps=4096, seed=7) as session:
        config, origins = session.run.record.config, session.run.record.origins
        assert (config.env, config.activation, config.initial_log_std) == ("Bandit-v0", "relu", -1)
        assert (origins["activation"], origins["seed"]) == ("run one", "flag")
        source = load_run("one")
        for kind in ("policy", "value_function"):
            ours, theirs = getattr(session.components, kind), getattr(source, kind)
            for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, other)
        assert int(session.components.trpo.policy_version.numpy()) == 0
    with pytest.raises(ValueError, match="stopped before its first checkpoint"):
        training_session.resume({}, "two", [])


def test_weights_that_do_not_fit_are_refused() -> None:
    with begun("one") as session:
        save(session)
    with pytest.raises(ValueError, match="activation cannot be relu"):
        training_session.settle({"activation": "relu"}, "one")
    with (
        pytest.raises(ValueError, match=r"are for observation space .*, but CartPole-v1 has"),
        begun("two", init_from="one", env="CartPole"),
    ):
        pass
    with pytest.raises(FileNotFoundError, match="nowhere holds no run"):
        training_session.settle({}, "nowhere")


def test_environments_that_are_seeded_when_they_are_made_begin_other_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds = []
    make = assembly.make_env

    def noting(config: TRPOConfig, num_envs: int, seed: int) -> gym.vector.VectorEnv:
        seeds.append(seed)
        return make(config, num_envs, seed)

    monkeypatch.setattr(assembly, "make_env", noting)
    with begun("one", seed=7) as session:
        save(session)
    for next_step in (16, 16, 32):
        session = training_session.resume({}, "one", [])
        assert isinstance(session, Session)
        with contextlib.closing(session):
            save(session, sampler={"next_step": next_step, "env_steps": 0})
    assert seeds[:2] == [7, 7], "nothing was collected yet"
    assert seeds[2] == seeds[3] != 7
    with contextlib.closing(training_session.resume({}, "one", [])):
        assert len(set(seeds)) == 3
