"""A run that is about to train: a new one, one begun from another's weights, or a resumed one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trpo_tf import assembly, checkpoint, run_record
from trpo_tf.assembly import Components
from trpo_tf.checkpoint import Checkpoint
from trpo_tf.config import TRPOConfig
from trpo_tf.counts import checked_count
from trpo_tf.environment_ids import resolve_env_id
from trpo_tf.environments import best_vectorization
from trpo_tf.metrics import resumed_progress
from trpo_tf.model_versions import whole_versions
from trpo_tf.presets import resolve
from trpo_tf.progress_file import has_rows
from trpo_tf.provenance import describe_session
from trpo_tf.run_directory import RunDirectory, check_entries, load_run
from trpo_tf.run_record import RunRecord
from trpo_tf.samplers.counters import read_counters
from trpo_tf.setting import shown
from trpo_tf.space_json import space_to_json

# What the networks are made of: weights that were made with one cannot be used with another.
MODEL_SETTINGS = (
    "hidden_sizes",
    "activation",
    "initial_log_std",
    "state_dependent_std",
    "mean_limit",
    "clipped_likelihood",
    "normalize_observations",
    "rescale_actions",
)
# What was decided when a run began, because the shape or the meaning of its state depends on it.
FIXED_SETTINGS = ("env", "env_kwargs", "num_envs", "seed", "scale_returns", *MODEL_SETTINGS)

_TAKEN_FROM = "run "


class Session(NamedTuple):
    """All that a training loop needs; `close` frees it.

    Attributes:
        run: the directory, locked; its record has the settings.
        components: what trains.
        state: counters of the checkpoint that training continues from; empty for a new run.
        is_resumed: whether the run had begun before.
        environments_go_on: whether the environments of a resumed run are exactly where they were;
            if not, they begin with a reset.
    """

    run: RunDirectory
    components: Components
    state: dict[str, Any]
    is_resumed: bool
    environments_go_on: bool

    def close(self) -> None:
        """Closes the environments and unlocks the directory."""
        self.components.sampler.close()
        self.run.close()


class Finished(NamedTuple):
    """A run that has nothing left to do.

    Attributes:
        env_steps: environment steps that it trained for.
        exported: the saved model that it left.
    """

    env_steps: int
    exported: str


def settle(
    given: Mapping[str, Any], init_from: str | os.PathLike[str] | None = None
) -> tuple[TRPOConfig, dict[str, str]]:
    """The settings of a new run and where each comes from.

    Args:
        given: settings that the user gave, by name.
        init_from: a run directory whose weights the run begins with. Settings of its models are
            taken over, and its environment if none is given.

    Raises:
        FileNotFoundError: `init_from` holds no run.
        ValueError: there is no such environment, a setting is refused, or it contradicts the
            models of `init_from`.
        ImportError: the environment needs an extra that is not installed.
    """
    taken: dict[str, Any] = {}
    if init_from is not None:
        source = _read_record(init_from).config
        taken = {name: getattr(source, name) for name in MODEL_SETTINGS}
        if "env" not in given:
            _refuse_module(source, init_from)
        given = {"env": source.env, **given}
        _refuse_changes(source, given, MODEL_SETTINGS, f"the weights of {init_from} were made with")
    env_id = resolve_env_id(given["env"])
    config, origins = resolve(env_id, {**given, **taken, "env": env_id})
    origins |= dict.fromkeys(taken, f"{_TAKEN_FROM}{init_from}")
    if config.vectorization == "auto":
        # Resolved once and for all: a run goes on in the environments that it has begun in.
        chosen = best_vectorization(env_id, config.env_kwargs)
        config = dataclasses.replace(config, vectorization=chosen)
        origins["vectorization"] = "auto"
    return config, origins


def changed_record(given: Mapping[str, Any], logdir: str | os.PathLike[str]) -> RunRecord:
    """A run's record with the settings that the user changes on resuming it.

    Args:
        given: settings to change, by name; those in `FIXED_SETTINGS` must be as they were.
        logdir: the run directory.

    Raises:
        FileNotFoundError: the directory holds no run.
        ValueError: a setting that must not change or that is refused, a damaged record, or one
            that names a module or a Ray cluster, which run code, or a file for the environment, and
            `given` does not.
    """
    record = _read_record(logdir)
    if "env" in given:
        given = {**given, "env": resolve_env_id(given["env"])}
    else:
        _refuse_module(record.config, logdir)
    if given.get("sampler", record.config.sampler) == "ray" and "ray_address" not in given:
        _refuse_cluster(record.config, logdir)
    if "env_kwargs" not in given:
        _refuse_paths(record.config, logdir)
    _refuse_changes(record.config, given, FIXED_SETTINGS, f"{logdir} was begun with")
    config = TRPOConfig(**{**record.config.to_json(), **given})
    changed = [name for name in given if getattr(config, name) != getattr(record.config, name)]
    origins = {**record.origins, **dict.fromkeys(changed, "flag on resuming")}
    return dataclasses.replace(record, config=config, origins=origins)


def begin(
    config: TRPOConfig,
    origins: Mapping[str, str],
    logdir: str | os.PathLike[str],
    command_line: Sequence[str],
    init_from: str | os.PathLike[str] | None = None,
) -> Session:
    """Makes the environments, the parts and the directory of a new run.

    Args:
        config: of the run.
        origins: where each setting comes from.
        logdir: the run directory; it must not hold a run.
        command_line: kept in the run's record.
        init_from: a run directory whose weights and statistics the run begins with.

    Raises:
        FileExistsError: the directory holds a run; nothing in it is changed.
        OSError: the directory cannot be made or written.
        ValueError: the environment's spaces are not supported or differ from those of `init_from`.
        ImportError: the environment needs an extra that is not installed.
    """
    with contextlib.ExitStack() as undo:
        components = assembly.assemble(config)
        undo.callback(components.sampler.close)
        spaces = components.policy.observation_space, components.policy.action_space
        record = RunRecord(config, origins, *spaces, (describe_session(command_line),))
        if init_from is not None:
            _take_weights(init_from, components, record)
        run = RunDirectory.create(logdir, record)
        undo.pop_all()
    return Session(run, components, state={}, is_resumed=False, environments_go_on=False)


def resume(
    given: Mapping[str, Any], logdir: str | os.PathLike[str], command_line: Sequence[str]
) -> Session | Finished:
    """Takes up a run where its newest whole checkpoint left it.

    Variables, optimiser slots, normalisers, return scaling and counters continue exactly. So do the
    environments, and with them all bits of the run, where one sampler steps such as can be put back
    (`samplers.env_state`). All others are reset, and the returns of the episodes that were under
    way with them. A run that was stopped before its first checkpoint begins again.

    Args:
        given: settings to change, by name; those in `FIXED_SETTINGS` must be as they were.
        logdir: the run directory.
        command_line: kept in the run's record.

    Raises:
        FileNotFoundError: the directory holds no run.
        ValueError: a setting that must not change, damaged files, checkpoints that are gone, or
            another environment.
        OSError: the directory cannot be written, or another process trains in it.
    """
    with contextlib.ExitStack() as undo:
        run = undo.enter_context(RunDirectory.resume(logdir))
        record = changed_record(given, logdir)
        found = checkpoint.latest_checkpoint(run.checkpoints_path)
        if found is None:
            _refuse_lost_checkpoints(run)
            _refuse_lost_weights(record, logdir)
        state = {} if found is None else _checked_state(found)
        done = _finished(record.config, state)
        if done is not None:
            return done
        next_step = read_counters(state["sampler"]).next_step if state else 0
        components = assembly.assemble(record.config, next_step)
        undo.callback(components.sampler.close)
        policy = components.policy
        record.check_spaces(policy.observation_space, policy.action_space)
        goes_on = found is not None and _take_up(found, components, state)
        run.rewrite_record(record.resumed(describe_session(command_line)))
        undo.pop_all()
    return Session(run, components, state, is_resumed=True, environments_go_on=goes_on)


def _take_up(found: Checkpoint, components: Components, state: Mapping[str, Any]) -> bool:
    """Continues from a checkpoint; returns whether the environments do so too."""
    checkpoint.restore_checkpoint(found, components.trpo.checkpointables())
    components.sampler.restore(state["sampler"])
    arrays = checkpoint.read_arrays(found)
    try:
        goes_on = arrays is not None and components.sampler.go_on(arrays)
    except ValueError as error:
        raise ValueError(
            f"{found.path} cannot be continued from: {error} Remove it to go on from the "
            "checkpoint before."
        ) from error
    scaling = components.trpo.advantage.return_scaling
    if scaling is not None and not goes_on:
        scaling.begin_episodes()
    return goes_on


def _refuse_changes(
    config: TRPOConfig, given: Mapping[str, Any], fixed: Sequence[str], reason: str
) -> None:
    for name in fixed:
        before = getattr(config, name)
        wanted = given.get(name, before)
        if (tuple(wanted) if isinstance(wanted, list) else wanted) != before:
            raise ValueError(
                f"{name} cannot be {shown(wanted)}: {reason} {shown(before)}. Leave it out, or "
                "start a new run."
            )


def _refuse_module(config: TRPOConfig, logdir: str | os.PathLike[str]) -> None:
    """To import what stands before the colon only because a file says so would be to run it."""
    if ":" in config.env:
        raise ValueError(
            f"{logdir} was trained in {config.env!r}, whose module would be imported. Give "
            f"--env={config.env} if you trust it."
        )


def _refuse_paths(config: TRPOConfig, logdir: str | os.PathLike[str]) -> None:
    """Files that an environment reads, a MuJoCo model say, are not for a stranger to name."""
    text = json.dumps(config.env_kwargs)
    if "/" in text or "\\\\" in text:
        raise ValueError(
            f"{logdir} was trained with env_kwargs that name a file, {text:.200}. Give "
            "--env_kwargs if you trust them."
        )


def _refuse_cluster(config: TRPOConfig, logdir: str | os.PathLike[str]) -> None:
    """The machines of a cluster and those that use it run each other's code."""
    if config.ray_address is not None:
        raise ValueError(
            f"{logdir} was trained by the Ray cluster {config.ray_address!r:.80}. Give "
            "--ray_address if you trust it, or --ray_address=none for this machine alone."
        )


def _checked_state(found: Checkpoint) -> dict[str, Any]:
    """The counters of a checkpoint: all that are gone on from.

    Raises:
        ValueError: they are not what a run writes.
    """
    state = checkpoint.read_state(found)
    try:
        checked_count(state["env_steps"])
        read_counters(state["sampler"])
        resumed_progress(state["progress"])
        for name, kind in {"best_return": float, "exported": str}.items():
            if not isinstance(state[name], kind | None):
                raise ValueError(f"{name} is {str(state[name])[:80]!r}")
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"The state in {found.path} is not one that a run writes: {error}. Remove it to go on "
            "from the checkpoint before."
        ) from error
    return state


def _finished(config: TRPOConfig, state: Mapping[str, Any]) -> Finished | None:
    exported = state.get("exported")
    env_steps = state.get("env_steps", 0)
    if exported is None or env_steps < config.total_steps:
        return None
    return Finished(env_steps, exported)


def _take_weights(
    init_from: str | os.PathLike[str], components: Components, record: RunRecord
) -> None:
    source = load_run(init_from)
    for kind in ("observation_space", "action_space"):
        before, here = getattr(source.record, kind), getattr(record, kind)
        if space_to_json(before) != space_to_json(here):
            raise ValueError(
                f"The weights of {init_from} are for {kind.replace('_', ' ')} {before}, but "
                f"{record.config.env} has {here}. Choose a run of the same spaces."
            )
    components.policy.set_weights(source.policy.get_weights())
    components.value_function.set_weights(source.value_function.get_weights())


def _refuse_lost_checkpoints(run: RunDirectory) -> None:
    """The first checkpoint comes before the first row and the first evaluation."""
    left = [
        name
        for name, is_left in {
            f"rows in {run.progress_path.name}": has_rows(run.progress_path),
            f"a policy in {run.best_policy_path.name}": whole_versions(run.best_policy_path),
        }.items()
        if is_left
    ]
    if left:
        raise ValueError(
            f"The checkpoints of {run.path} are gone: it has {' and '.join(left)}, so at least one "
            f"was expected in {run.checkpoints_path}. Restore them from a backup, or choose "
            "another logdir to start over."
        )


def _refuse_lost_weights(record: RunRecord, logdir: str | os.PathLike[str]) -> None:
    """A run with another's weights, killed before its first checkpoint, cannot begin again."""
    sources = {origin for origin in record.origins.values() if origin.startswith(_TAKEN_FROM)}
    for source in sources:
        raise ValueError(
            f"{logdir} was stopped before its first checkpoint, so the weights that it took from "
            f"{source.removeprefix(_TAKEN_FROM)} are lost. Start a new run with --init_from."
        )


def _read_record(logdir: str | os.PathLike[str]) -> RunRecord:
    path = Path(logdir) / "config.json"
    check_entries(path.parent)
    return run_record.read_record(path)
