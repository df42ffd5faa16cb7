"""The loop: what it reports, evaluates and saves, and what stops it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bandit
import numpy as np
import pytest
from fake_collectors import StillClock, no_thread_left
from long_forms import only

from trpo_tf import training_loop, training_session
from trpo_tf.checkpoint import latest_checkpoint
from trpo_tf.errors import TrainingStopped
from trpo_tf.interruption import Interruption
from trpo_tf.loaded_policy import load_policy
from trpo_tf.metrics import ProgressLog
from trpo_tf.run_directory import load_run
from trpo_tf.samplers import background
from trpo_tf.training_loop import TrainingLoop
from trpo_tf.training_session import Session
from trpo_tf.types import EpisodeStats


@pytest.fixture(autouse=True)
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with bandit.registered():
        yield


@contextlib.contextmanager
def loop(session: Session) -> Iterator[TrainingLoop]:
    progress = session.state.get("progress", {}) if session.is_resumed else None
    with (
        contextlib.closing(session),
        ProgressLog(session.run.progress_path, resume_state=progress) as log,
    ):
        yield TrainingLoop(session, log)


def begin(logdir: str, **changes: Any) -> Session:
    given = {"env": "Bandit", **bandit.SMALL, "total_steps": 128, **changes}
    config, origins = training_session.settle(given)
    return training_session.begin(config, origins, logdir, [])


def resume(logdir: str, **changes: Any) -> Session:
    session = training_session.resume(changes, logdir, [])
    assert isinstance(session, Session)
    return session


def newest_step(logdir: str) -> int:
    newest = latest_checkpoint(f"{logdir}/checkpoints")
    assert newest is not None
    return newest.step


def train(session: Session) -> bool:
    with loop(session) as training, Interruption() as interruption:
        return training.run(interruption)


def test_a_resumed_run_is_the_run_that_was_never_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"env_kwargs": bandit.ONE_ROLLOUT, "max_kl_final": 0.001, "total_steps": 120}
    assert train(begin("whole", **settings))
    monkeypatch.setattr(bandit.Bandit, "signal_at", 24)
    assert not train(begin("parts", **settings))
    assert bandit.state("parts")["env_steps"] == 60
    assert train(resume("parts"))
    assert bandit.rows("parts") == bandit.rows("whole")
    assert len(bandit.rows("parts")) == 4
    ours, theirs = bandit.variables("parts"), bandit.variables("whole")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    for name in ("sampler", "env_steps", "best_return"):
        assert bandit.state("parts")[name] == bandit.state("whole")[name]


def test_rows_behind_the_checkpoint_are_made_again() -> None:
    """As after a kill: the run's table has grown further than its last checkpoint."""
    assert train(begin("whole"))
    with loop(begin("killed", checkpoint_every=100)) as training:
        training.save()
        for _ in range(2):
            training._iterate()
    assert len(bandit.rows("killed")) == 2
    assert train(resume("killed"))
    assert bandit.rows("killed") == bandit.rows("whole")


@pytest.mark.parametrize("env", only(("Hopper",), ["CartPole", "Hopper"]))
def test_a_run_that_is_killed_anywhere_ends_as_if_it_had_not_been(env: str) -> None:
    """In the middle of episodes, after a checkpoint or behind it, twice in a row."""
    settings = {
        "env": env,
        "vectorization": "sync",
        "total_steps": 200,
        "checkpoint_every": 2,
        "max_kl_final": 0.001,
    }
    assert train(begin("whole", **settings))
    with loop(begin("killed", **settings)) as training:
        training.save()
        for _ in range(3):
            training._iterate()
            if training.updates == 2:
                training.save()
    for updates in (1, 2):
        session = resume("killed")
        assert session.environments_go_on
        with loop(session) as training:
            for _ in range(updates):
                training._iterate()
            training.save()
            training._iterate()
    assert bandit.state("killed")["env_steps"] < bandit.state("whole")["env_steps"]
    assert train(resume("killed"))
    assert bandit.rows("killed") == bandit.rows("whole")
    assert_same_variables("killed", "whole")
    assert bandit.state("killed")["sampler"] == bandit.state("whole")["sampler"]
    ours, theirs = bandit.arrays("killed"), bandit.arrays("whole")
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert any(float(row["episodes"] or 0) for row in bandit.rows("whole"))


@pytest.mark.parametrize(("every", "kept"), [(2, [0, 2, 4]), (1, [2, 3, 4]), (100, [0, 4])])
def test_checkpoints_come_at_the_start_now_and_then_and_at_the_end(
    every: int, kept: list[int]
) -> None:
    assert train(begin("one", checkpoint_every=every))
    found = sorted(int(path.name) for path in Path("one/checkpoints").iterdir())
    assert found == kept


def test_evaluations_come_when_due_and_at_the_end_and_the_best_is_kept() -> None:
    session = begin(
        "one", env_kwargs={"length": 8}, total_steps=150, eval_every=48, eval_episodes=2
    )
    with loop(session) as training, Interruption() as interruption:
        assert training.run(interruption)
        best = training.best_return
    evaluated = {
        int(row["env_steps"]): float(row["eval_return_mean"])
        for row in bandit.rows("one")
        if row["eval_return_mean"]
    }
    steps = [int(row["env_steps"]) for row in bandit.rows("one")]
    before = [0, *steps[:-1]]
    due = [now for then, now in zip(before, steps, strict=True) if then // 48 < now // 48]
    assert sorted(evaluated) == sorted({*due, steps[-1]})
    assert best == pytest.approx(max(evaluated.values()))
    assert bandit.state("one")["best_return"] == best
    assert len(list(Path("one/best_policy").iterdir())) == 1
    returns = load_policy("one/best_policy").metadata["training"]["returns"]
    assert returns["mean"] == pytest.approx(best)
    assert returns["episodes"] == 2


def test_the_best_policy_outlives_a_kill_before_the_next_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returns = iter([5.0, 2.0, 3.0, 6.0])

    def played(*_: Any) -> EpisodeStats:
        return EpisodeStats(np.array([next(returns)]), np.array([8]))

    monkeypatch.setattr(training_loop, "evaluate", played)

    def kept() -> float:
        return load_policy("one/best_policy").metadata["training"]["returns"]["mean"]

    with loop(begin("one", eval_every=32, checkpoint_every=100)) as training:
        training.save()
        training._iterate()
    assert bandit.state("one")["best_return"] is None
    with loop(resume("one")) as training:
        assert training.best_return == 5.0
        for expected in (5.0, 5.0, 6.0):
            training._iterate()
            assert (training.best_return, kept()) == (expected, expected)


SAYS_FIVE = '{"training": {"returns": {"mean": 5}}}'


@pytest.mark.parametrize(
    "metadata",
    ["{", "[]", '{"training": {}}', "pipe", "link", SAYS_FIVE + " " * 20_000_000, None],
    ids=["cut", "list", "no return", "pipe", "link", "huge", "none"],
)
def test_a_best_policy_that_says_nothing_of_its_return_is_no_rival(metadata: str | None) -> None:
    version = Path("one/best_policy/1")
    session = begin("one")
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    path = version / "assets.extra" / "metadata.json"
    if metadata == "pipe":
        os.mkfifo(path)
    elif metadata == "link":
        Path("elsewhere").write_text(SAYS_FIVE)
        path.symlink_to(Path("elsewhere").absolute())
    elif metadata is not None:
        path.write_text(metadata)
    with loop(session) as training:
        assert training.best_return is None


def test_evaluations_leave_training_as_it_is() -> None:
    settings = {"env_kwargs": {"length": 8}, "total_steps": 64}
    assert train(begin("without", **settings))
    assert train(begin("with", **settings, eval_every=32, eval_episodes=1))
    ours, theirs = bandit.variables("with"), bandit.variables("without")
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize("spoil", ["NaN", "Infinity"])
def test_numbers_that_are_not_finite_stop_the_run_and_leave_it_intact(spoil: str) -> None:
    session = begin(
        "one",
        env_kwargs={"spoilt_after": 40, "spoil": spoil},
        total_steps=1024,
        max_refused_updates=3,
        keep_checkpoints=1,
    )
    with pytest.raises(TrainingStopped) as stopped:
        train(session)
    assert "3 updates in a row were refused (NON_FINITE_ROLLOUT)" in str(stopped.value)
    assert "In the last one environment 0 gave the reward " in str(stopped.value)
    assert "The last checkpoint in one is intact; --resume continues" in str(stopped.value)
    statuses = [row["status"] for row in bandit.rows("one")]
    assert statuses == ["ACCEPTED"] * 2 + ["NON_FINITE_ROLLOUT"] * 3
    assert newest_step("one") == 5
    assert all(np.isfinite(value).all() for value in bandit.variables("one").values())


def test_updates_before_refused_ones_are_saved_at_the_stop() -> None:
    settings = {"checkpoint_every": 100, "total_steps": 1024, "max_refused_updates": 3}
    with pytest.raises(TrainingStopped):
        train(begin("one", env_kwargs={"spoilt_after": 40}, **settings))
    statuses = [row["status"] for row in bandit.rows("one")]
    assert statuses == ["ACCEPTED"] * 2 + ["NON_FINITE_ROLLOUT"] * 3
    assert newest_step("one") == 5


def test_updates_before_a_signal_are_saved_though_later_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bandit.Bandit, "signal_at", 40)
    settings = {"env_kwargs": {"spoilt_after": 17}, "checkpoint_every": 100}
    assert not train(begin("one", keep_checkpoints=1, **settings))
    statuses = [row["status"] for row in bandit.rows("one")]
    assert statuses == ["ACCEPTED", "NON_FINITE_ROLLOUT", "NON_FINITE_ROLLOUT"]
    assert newest_step("one") == 3


def spoil_rollouts(session: Session, updates: set[int], patch: pytest.MonkeyPatch) -> None:
    """The rewards of these updates, by their numbers, are not finite."""
    trpo = session.components.trpo
    update = trpo.update

    def spoilt(rollout: Any) -> Any:
        if int(trpo.policy_version.numpy()) + 1 in updates:
            rollout = rollout._replace(rewards=np.full_like(rollout.rewards, np.nan))
        return update(rollout)

    patch.setattr(trpo, "update", spoilt)


def test_a_checkpoint_that_was_due_in_a_refused_update_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = begin("one", checkpoint_every=2, total_steps=32 * 5)
    spoil_rollouts(session, {2, 4}, monkeypatch)
    assert train(session)
    assert sorted(int(path.name) for path in Path("one/checkpoints").iterdir()) == [0, 3, 5]


def test_a_refused_last_update_ends_the_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    session = begin("one", env="CartPole", vectorization="sync", total_steps=32 * 2 - 10)
    spoil_rollouts(session, {2}, monkeypatch)
    with loop(session) as training, Interruption() as interruption:
        assert training.run(interruption)
        training.save(exported="model/1")
        env_steps = training.env_steps
        policy = training.session.components.policy.get_weights()
    assert [row["status"] for row in bandit.rows("one")] == ["ACCEPTED", "NON_FINITE_ROLLOUT"]
    assert training_session.resume({}, "one", []) == training_session.Finished(env_steps, "model/1")
    for ours, theirs in zip(load_run("one").policy.get_weights(), policy, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # What gave such numbers is not gone on with.
    with contextlib.closing(resume("one", total_steps=128)) as more:
        assert not more.environments_go_on


def test_a_dead_worker_stops_the_run_and_leaves_it_intact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit.Bandit, "dies_at", 24)
    with pytest.raises(TrainingStopped, match=r"Worker 0 has died\. The last checkpoint in one"):
        train(begin("one"))
    monkeypatch.setattr(bandit.Bandit, "dies_at", None)
    assert train(resume("one"))
    assert len(bandit.rows("one")) == 4


def test_workers_that_end_by_the_signal_that_stops_the_run_are_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bandit.Bandit, "signal_at", 39)
    monkeypatch.setattr(bandit.Bandit, "dies_at", 40)
    assert not train(begin("one", checkpoint_every=100))
    assert newest_step("one") == len(bandit.rows("one")) == 2
    monkeypatch.setattr(bandit.Bandit, "dies_at", None)
    assert train(resume("one"))
    assert len(bandit.rows("one")) == 4


def test_the_updates_before_a_loss_of_workers_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bandit.Bandit, "dies_at", 40)
    with pytest.raises(TrainingStopped, match="Worker 0 has died"):
        train(begin("one", checkpoint_every=100))
    assert bandit.state("one")["env_steps"] == 64
    monkeypatch.setattr(bandit.Bandit, "dies_at", None)
    assert train(resume("one"))
    assert len(bandit.rows("one")) == 4


def test_what_the_environment_raises_is_named_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def diverge(env: bandit.Bandit, action: Any) -> Any:
        raise ArithmeticError("the simulator diverged")

    session = begin("one")
    monkeypatch.setattr(bandit.Bandit, "step", diverge)
    expected = (
        r"Bandit-v0 \(seed 0\) failed: ArithmeticError: the simulator diverged \(.*"
        r"test_training_loop.py:\d+, in diverge; .*The last checkpoint in one is intact"
    )
    with pytest.raises(TrainingStopped, match=expected):
        train(session)


@pytest.mark.parametrize(("checkpoint_every", "goes_on"), [(1, True), (100, False)])
def test_what_an_environment_raises_leaves_the_best_checkpoint_that_can_be(
    checkpoint_every: int, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin("one", env="CartPole", vectorization="sync", checkpoint_every=checkpoint_every)
    collect, counts = session.components.sampler.collect, iter(range(9))

    def diverge() -> Any:
        if next(counts) == 2:
            raise ArithmeticError("the simulator diverged")
        return collect()

    monkeypatch.setattr(session.components.sampler, "collect", diverge)
    with pytest.raises(TrainingStopped, match="the simulator diverged"):
        train(session)
    assert newest_step("one") == len(bandit.rows("one")) == 2
    with contextlib.closing(resume("one")) as more:
        assert more.environments_go_on == goes_on


def test_an_evaluation_that_does_not_end_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    played = functools.partial(training_loop.evaluate, max_steps=50)
    monkeypatch.setattr(training_loop, "evaluate", played)
    with pytest.raises(TrainingStopped, match=r"has not ended after 50 steps\. Give the"):
        train(begin("one", eval_every=32, eval_episodes=2))
    assert bandit.state("one")["env_steps"] == 0


# --- asynchronous runs --------------------------------------------------------------------------


def assert_same_variables(ours: str, theirs: str) -> None:
    found, expected = bandit.variables(ours), bandit.variables(theirs)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_with_none_ahead_an_asynchronous_run_is_the_synchronous_one() -> None:
    settings = {"env_kwargs": {"length": 7}, "eval_every": 48, "eval_episodes": 1}
    assert train(begin("sync", **settings))
    with no_thread_left():
        assert train(begin("async", **settings, sampler="async", rollouts_ahead=0))
    assert bandit.rows("async") == bandit.rows("sync")
    assert_same_variables("async", "sync")
    counters = bandit.state("sync")["sampler"]
    assert bandit.state("async")["sampler"].items() >= counters.items()


def test_with_one_ahead_a_run_is_one_update_late_and_repeats_itself() -> None:
    with no_thread_left():
        for name in ("one", "again"):
            assert train(begin(name, sampler="async"))
    assert bandit.rows("one") == bandit.rows("again")
    assert_same_variables("one", "again")
    assert [float(row["policy_lag"]) for row in bandit.rows("one")] == [0, 1, 1, 1]
    assert [int(row["env_steps"]) for row in bandit.rows("one")] == [32, 64, 96, 128]
    assert {row["lost_rollouts"] for row in bandit.rows("one")} == {"0"}


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_asynchronous_run_is_stopped_and_goes_on(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "env_kwargs": bandit.ONE_ROLLOUT,
        "total_steps": 120,
        "sampler": "async",
        "rollouts_ahead": ahead,
    }
    with no_thread_left():
        assert train(begin("whole", **settings))
        monkeypatch.setattr(bandit.Bandit, "signal_at", 24)
        assert not train(begin("parts", **settings))
        # The signal came in the second rollout; with one ahead that may be any time in the first
        # two updates.
        assert bandit.state("parts")["env_steps"] in ([60] if ahead == 0 else [30, 60])
        assert train(resume("parts"))
    rows = bandit.rows("parts")
    assert [int(row["update"]) for row in rows] == [1, 2, 3, 4]
    assert [int(row["env_steps"]) for row in rows] == [30, 60, 90, 120]
    lags = [float(row["policy_lag"]) for row in rows]
    if ahead == 0:
        assert rows == bandit.rows("whole")
        assert_same_variables("parts", "whole")
    else:
        # What was collected ahead of the checkpoint is collected anew, by the policy in it.
        assert sorted(lags) == [0, 0, 1, 1]
        assert lags[0] == 0


def test_rows_behind_an_asynchronous_checkpoint_are_made_again() -> None:
    """As after a kill, while a rollout is under way and another one waits."""
    settings = {"sampler": "async", "rollouts_ahead": 2}
    with no_thread_left():
        with loop(begin("killed", **settings, checkpoint_every=100)) as training:
            training._iterate()
            training.save()
            training._iterate()
        assert len(bandit.rows("killed")) == 2
        assert train(resume("killed"))
    rows = bandit.rows("killed")
    assert [int(row["update"]) for row in rows] == [1, 2, 3, 4]
    assert [int(row["env_steps"]) for row in rows] == [32, 64, 96, 128]
    assert float(rows[1]["policy_lag"]) == 0


def test_environments_that_die_now_and_then_cost_an_asynchronous_run_their_rollouts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each life is good for one rollout of 16 steps."""
    monkeypatch.setattr(bandit.Bandit, "dies_at", 24)
    with no_thread_left():
        assert train(begin("one", sampler="async", rollouts_ahead=0))
    assert [row["lost_rollouts"] for row in bandit.rows("one")] == ["0", "1", "2", "3"]
    assert [int(row["env_steps"]) for row in bandit.rows("one")] == [32, 64, 96, 128]


def test_environments_that_die_in_every_life_stop_an_asynchronous_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bandit.Bandit, "dies_at", 8)
    expected = r"lost 3 times in a row .*Worker 0 has died\. The last checkpoint in one is intact"
    with no_thread_left(), pytest.raises(TrainingStopped, match=expected):
        train(begin("one", sampler="async"))
    monkeypatch.setattr(bandit.Bandit, "dies_at", None)
    assert train(resume("one"))
    assert len(bandit.rows("one")) == 4


def test_an_environment_that_hangs_stops_an_asynchronous_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, release = StillClock(), threading.Event()
    monkeypatch.setattr(background, "time", clock)
    monkeypatch.setattr(background, "_CLOSING_SECONDS", 0.05)
    step = bandit.Bandit.step

    def hanging(env: bandit.Bandit, action: Any) -> Any:
        if env.steps == 40:
            clock.is_racing = True
            release.wait()
        return step(env, action)

    monkeypatch.setattr(bandit.Bandit, "step", hanging)
    with no_thread_left():
        try:
            settings = {"rollouts_ahead": 0, "worker_timeout": 0.2, "checkpoint_every": 100}
            with pytest.raises(TrainingStopped) as stopped:
                train(begin("one", sampler="async", **settings))
        finally:
            release.set()
    message = str(stopped.value)
    assert message.startswith("the sampler of Bandit-v0 (2 environments from number 0, seed 0) has")
    assert "raise worker_timeout (0.2 s) if its steps take so long. The last checkpoint" in message
    assert len(bandit.rows("one")) == 2
    assert bandit.state("one")["env_steps"] == 64


def test_a_signal_in_the_last_update_does_not_undo_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit.Bandit, "signal_at", 16 * 4)
    session = begin("one")
    with loop(session) as training, Interruption() as interruption:
        assert training.run(interruption)
        assert interruption.signal_number is signal.SIGTERM


def test_a_model_is_published_once_whenever_the_run_is_killed() -> None:
    """After the model has its number, before the run is marked as finished."""
    session = begin("killed")
    with loop(session) as training, Interruption() as interruption:
        assert training.run(interruption)
        first = training.publish("model")
    for _ in range(2):
        with loop(resume("killed")) as training, Interruption() as interruption:
            assert training.run(interruption)
            assert training.publish("model") == first
            assert training.publish("elsewhere").name == "1"
    with loop(resume("killed", total_steps=256)) as training, Interruption() as interruption:
        assert training.run(interruption)
        assert training.publish("model").name == "2"
    assert train(begin("other", seed=1))
    with loop(resume("other")) as training:
        assert training.publish("model").name == "3"


def test_an_evaluation_that_is_not_finite_is_never_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returns = iter([np.nan, -np.inf, 3.0, np.nan, 2.0])

    def evaluate(*_: Any) -> EpisodeStats:
        return EpisodeStats(np.array([next(returns)]), np.array([1]))

    monkeypatch.setattr(training_loop, "evaluate", evaluate)
    bests = []
    with loop(begin("one", eval_every=1)) as training:
        for _ in range(5):
            training._evaluate(training.env_steps - 1)
            bests.append(training.best_return)
        assert bests == [None, None, 3.0, 3.0, 3.0]
        training.best_return = np.nan
        training.save()
    with loop(resume("one")) as training:
        assert training.best_return == 3.0
