"""Run directories, models and settings from a stranger: one clean line, and nothing is executed.

Each hostile directory goes through every way in: `load_run`, `--resume`, `--init_from`, export,
comparison, evaluation. Every pickle, module and link among them would leave a mark if it were
followed.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from long_forms import as_case

from trpo_tf import (
    assembly,
    checkpoint,
    command_line,
    compare_runs,
    evaluate,
    export,
    manifest,
    run_directory,
    train,
)
from trpo_tf.config import TRPOConfig
from trpo_tf.metrics import COLUMNS
from trpo_tf.npz_file import npz_bytes
from trpo_tf.progress_file import ProgressFile
from trpo_tf.provenance import describe_session
from trpo_tf.run_comparison import compare_runs as compare
from trpo_tf.run_directory import RunDirectory
from trpo_tf.run_record import RunRecord
from trpo_tf.saved_model import export_policy
from trpo_tf.training_session import Session, changed_record, resume, settle

ENV = "CartPole-v1"
SAMPLER = {"next_step": 32, "env_steps": 64, "lost_rollouts": 0, "dropped_rollouts": 0}
PROGRESS = {
    "update": 1,
    "env_steps": 64,
    "wall_time": 1.5,
    "recent_returns": [20.0],
    "recent_lengths": [20],
}
STATE = {
    "env_steps": 64,
    "sampler": SAMPLER,
    "progress": PROGRESS,
    "best_return": None,
    "exported": None,
}
DEEP = "[" * 200_000
LISTED = ("state.json", "variables.index", "variables.data-00000-of-00001")
ARRAYS = "arrays.npz"
ONE_LEFT = (*(name for name in LISTED if name != "variables.index"), ARRAYS)


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as training leaves it, with two updates to go."""
    path = tmp_path_factory.mktemp("runs") / "good"
    sizes = {"hidden_sizes": (4,), "num_envs": 2, "num_steps": 32, "total_steps": 128}
    config = TRPOConfig(env=ENV, vectorization="sync", execution="eager", **sizes)
    components = assembly.assemble(config)
    spaces = components.policy.observation_space, components.policy.action_space
    components.sampler.collect()
    arrays = components.sampler.exact_state()
    components.sampler.close()
    assert arrays is not None
    record = RunRecord(config, {"env": "flag"}, *spaces, (describe_session(["train"]),))
    with RunDirectory.create(path, record) as run:
        for step in (0, 1):
            checkpoint.save_checkpoint(
                run.checkpoints_path,
                step,
                components.trpo.checkpointables(),
                STATE,
                keep=3,
                arrays=arrays,
            )
    with ProgressFile(path / "progress.csv", COLUMNS) as file:
        file.append({"update": 1, "kl": 0.01})
    return path


@pytest.fixture(scope="module")
def good_model(good_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("models") / "CartPole"
    return export_policy(
        run_directory.load_run(good_run).policy, base, metadata={"env": ENV}, verify=False
    )


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works in a directory of its own; what is in it can be imported, as with `python -m`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'MARK')!r}, 'w').close()\n")


def pickled(tmp_path: Path) -> bytes:
    """What creates the mark when it is unpickled, by any protocol's reader."""
    return f"cbuiltins\nopen\n(V{tmp_path / 'MARK'}\nVw\ntR.".encode()


# --- ways in ------------------------------------------------------------------------------------


def one_line(module: Any, capsys: pytest.CaptureFixture[str], *arguments: str, **how: Any) -> int:
    """Runs a command line in this process; it must end with one line and a status that is not 0."""
    for name in module.FLAGS:
        module.FLAGS[name].unparse()
    module.FLAGS.unparse_flags()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["program", *arguments])
        status = command_line.run(module.main, module.FLAGS, **how)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("warning: ")]
    assert status != 0, captured
    assert len(lines) == 1, captured
    assert lines[0].startswith("error: ")
    assert lines[0].isprintable()
    assert len(lines[0]) < 2_000
    return status


def by_loading(path: Path, capsys: Any) -> None:
    with pytest.raises((ValueError, OSError)) as caught:
        run_directory.load_run(path)
    assert str(caught.value)


def by_resuming(path: Path, capsys: Any) -> None:
    one_line(train, capsys, "--resume", f"--logdir={path}", "--progress=none", "--export_dir=out")
    assert not Path("out").exists() or not os.listdir("out")


def by_beginning(path: Path, capsys: Any) -> None:
    one_line(train, capsys, f"--init_from={path}", "--logdir=new", "--export_dir=out")
    assert not Path("new").exists()


def by_exporting(path: Path, capsys: Any) -> None:
    one_line(export, capsys, f"--logdir={path}", "--noverify")
    assert not list(Path("saved_models").glob("*/*"))


def by_comparing(path: Path, capsys: Any) -> None:
    arguments = [str(path), str(path)]
    how = {"operands": compare_runs.OPERANDS, "failure": compare_runs.UNUSABLE}
    assert one_line(compare_runs, capsys, *arguments, **how) == compare_runs.UNUSABLE


def by_evaluating(path: Path, capsys: Any) -> None:
    one_line(evaluate, capsys, f"--saved_model={path}", f"--env={ENV}", "--episodes=1")


WHOLE = (by_loading, by_resuming, by_beginning, by_exporting)
RECORD = (*WHOLE, by_comparing, by_evaluating)


# --- what a stranger may do ---------------------------------------------------------------------

Spoil = Callable[[Path, Path], None]


def content(name: str, make: Callable[[Path], bytes]) -> Spoil:
    """Other bytes in a file."""
    return lambda run, here: (run / name).write_bytes(make(here)) and None


def setting(*keys: str | int, value: Any) -> Spoil:
    """One other value in config.json; no keys: the file's text."""

    def spoil(run: Path, _: Path) -> None:
        file = run / "config.json"
        record = place = json.loads(file.read_text())
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        file.write_text(json.dumps(record))

    return spoil


def number_text(key: str, text: str) -> Spoil:
    """A number in config.json that Python's JSON would not write."""

    def spoil(run: Path, here: Path) -> None:
        setting("settings", key, value="@")(run, here)
        file = run / "config.json"
        file.write_text(file.read_text().replace('"@"', text))

    return spoil


def link(name: str, target: str) -> Spoil:
    """A link instead of what was there; the target exists and would do."""

    def spoil(run: Path, here: Path) -> None:
        outside = here / "outside"
        outside.mkdir(exist_ok=True)
        moved = outside / Path(name).name
        (run / name).rename(moved)
        (run / name).symlink_to(target or moved)

    return spoil


def in_turn(*spoils: Spoil) -> Spoil:
    def spoil_all(run: Path, here: Path) -> None:
        for spoil in spoils:
            spoil(run, here)

    return spoil_all


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("0*"))


def every_checkpoint(spoil: Callable[[Path, Path], None], sealed: bool = True) -> Spoil:
    """The same in all checkpoints; sealed: with manifests that say it should be so."""

    def spoil_all(run: Path, here: Path) -> None:
        for path in (run / "checkpoints").glob("0*"):
            spoil(path, here)
            if sealed:
                (path / manifest.FILE_NAME).unlink()
                manifest.write_manifest(path, f"checkpoint {int(path.name)}")

    return spoil_all


def state(value: Any) -> Spoil:
    text = value if isinstance(value, str) else json.dumps(value)
    return every_checkpoint(lambda path, _: (path / "state.json").write_text(text) and None)


def in_manifest(change: Callable[[dict[str, Any]], None]) -> Spoil:
    """Another manifest whose own digest is right."""

    def spoil(path: Path, _: Path) -> None:
        file = path / manifest.FILE_NAME
        listed = json.loads(file.read_text())
        change(listed["files"])
        file.write_text(manifest._canonical(listed["label"], listed["files"]))

    return every_checkpoint(spoil, sealed=False)


def linked(name: str) -> Spoil:
    """A file of a checkpoint as a link to the same bytes elsewhere."""

    def spoil(path: Path, here: Path) -> None:
        shutil.copy(path / name, here / name)
        (path / name).unlink()
        (path / name).symlink_to(here / name)

    return spoil


def pipe(name: str) -> Spoil:
    """A pipe that nobody writes to."""

    def spoil(path: Path, _: Path) -> None:
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)

    return spoil


def unlisted(name: str, spoil: Spoil) -> Spoil:
    """Spoilt in all checkpoints, whose manifests do not say that there is such a file."""
    return in_turn(
        in_manifest(lambda files: files.pop(name, None) and None),
        every_checkpoint(spoil, sealed=False),
    )


def sealed_arrays(make: Callable[[Path], bytes]) -> Spoil:
    return every_checkpoint(lambda path, here: (path / ARRAYS).write_bytes(make(here)) and None)


def objects(here: Path) -> bytes:
    """An archive whose only array is a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
        )
        archive.writestr("ended.npy", header.getvalue() + pickled(here))
    return file.getvalue()


def absurd(_: Path) -> bytes:
    """An archive whose array would fill all memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**10)}
        )
        archive.writestr("ended.npy", header.getvalue())
    return file.getvalue()


BOX = {"type": "Box", "dtype": "float32", "low": -1.0, "high": 1.0}
DISCRETE = {"type": "Discrete", "start": 0, "dtype": "int64"}
SETTINGS: dict[str, Spoil] = {
    "pickle": content("config.json", pickled),
    "empty": content("config.json", lambda _: b""),
    "deep": content("config.json", lambda _: DEEP.encode()),
    "deep object": content("config.json", lambda _: b'{"settings":' * 100_000),
    "another kind": content("config.json", lambda _: b"[1, 2]"),
    "zeros": content("config.json", lambda _: bytes(10_000)),
    "extra key": setting("__reduce__", value=["os.system", "id"]),
    "extra setting": setting("settings", "__class__", value="TRPOConfig"),
    "extra note": setting("sessions", 0, "hook", value="evil"),
    "no number": number_text("max_kl", "NaN"),
    "infinite": number_text("damping", "1e999"),
    "many digits": number_text("num_envs", "9" * 5_000),
    "beyond floats": number_text("max_kl", "9" * 400),
    "many environments": setting("settings", "num_envs", value=10**12),
    "many steps": setting("settings", "num_steps", value=10**12),
    "many threads": setting("settings", "intra_op_threads", value=10**9),
    "wide": setting("settings", "hidden_sizes", value=[10**12]),
    "wide and deep": setting("settings", "hidden_sizes", value=[65536, 65536, 65536]),
    "endless": setting("settings", "hidden_sizes", value=[1] * 100_000),
    "unknown activation": setting("settings", "activation", value="evil.activation"),
    "large observation": setting("observation_space", value={**BOX, "shape": [2**24]}),
    "larger observation": setting("observation_space", value={**BOX, "shape": [2**20, 2**20]}),
    "many actions": setting("action_space", value={**DISCRETE, "n": 2**40}),
    "many choices": setting(
        "action_space",
        value={"type": "MultiDiscrete", "shape": [2], "dtype": "int64", "nvec": 2**40, "start": 0},
    ),
    "unknown space": setting("action_space", "type", value="evil.Space"),
}
# Well-formed: refused where models would be made.
TOO_LARGE = ("wide and deep", "large observation", "many actions", "many choices")
CHECKPOINTS: dict[str, Spoil] = {
    "all pickles": every_checkpoint(
        lambda path, here: [file.write_bytes(pickled(here)) for file in path.iterdir()] and None,
        sealed=False,
    ),
    "sealed pickle of numbers": every_checkpoint(
        lambda path, here: (path / "variables.index").write_bytes(pickled(here)) and None
    ),
    "sealed pickle of data": every_checkpoint(
        lambda path, here: (
            (path / "variables.data-00000-of-00001").write_bytes(pickled(here)) and None
        )
    ),
    "sealed pickle of state": every_checkpoint(
        lambda path, here: (path / "state.json").write_bytes(pickled(here)) and None
    ),
    "wrong hash": every_checkpoint(
        lambda path, _: (path / "state.json").write_text("{} ") and None, sealed=False
    ),
    "other directory in the manifest": in_manifest(
        lambda files: files.update({"../../config.json": files.pop("state.json")})
    ),
    "absolute path in the manifest": in_manifest(
        lambda files: files.update({"/etc/passwd": files.pop("state.json")})
    ),
    "linked file": every_checkpoint(linked("variables.index"), sealed=False),
    **{
        f"unlisted {how.__name__} for {name}": unlisted(name, how(name))
        for how in (linked, pipe)
        for name in (*LISTED, ARRAYS)
    },
    "only the index is listed": in_turn(
        *(in_manifest(lambda files, name=name: files.pop(name) and None) for name in ONE_LEFT),
        every_checkpoint(pipe("state.json"), sealed=False),
    ),
    "pipe beside the files": every_checkpoint(pipe("more"), sealed=False),
    "directory beside the files": every_checkpoint(
        lambda path, _: (path / "more").mkdir(), sealed=False
    ),
    "linked checkpoints": link("checkpoints", ""),
    "deep state": state(DEEP),
    "state of another kind": state([1, 2]),
}
ENVIRONMENTS: dict[str, Spoil] = {
    "pickle": sealed_arrays(pickled),
    "pickled objects": sealed_arrays(objects),
    "absurd shape": sealed_arrays(absurd),
    "of others": sealed_arrays(lambda _: npz_bytes({"ended": np.zeros(10**6, bool)})),
    "none": sealed_arrays(lambda _: npz_bytes({})),
}
STATES: dict[str, Spoil] = {
    "steps that are text": state({**STATE, "env_steps": "64"}),
    "steps below zero": state({**STATE, "env_steps": -1}),
    "steps beyond counting": state({**STATE, "env_steps": 10**400}),
    **{f"without {name}": state({k: v for k, v in STATE.items() if k != name}) for name in STATE},
    **{
        f"infinite {name}": state({**STATE, "sampler": {**SAMPLER, name: float("inf")}})
        for name in SAMPLER
    },
    "sampler without its step": state({**STATE, "sampler": {"env_steps": 64}}),
    "sampler that lost less than nothing": state(
        {**STATE, "sampler": {**SAMPLER, "lost_rollouts": -1}}
    ),
    **{
        f"progress without {name}": state(
            {**STATE, "progress": {k: v for k, v in PROGRESS.items() if k != name}}
        )
        for name in PROGRESS
    },
    "progress before the start": state({**STATE, "progress": {**PROGRESS, "update": -1}}),
    "progress beyond counting": state({**STATE, "progress": {**PROGRESS, "env_steps": 2**62}}),
    "endless time": state({**STATE, "progress": {**PROGRESS, "wall_time": float("inf")}}),
    "returns that are text": state({**STATE, "progress": {**PROGRESS, "recent_returns": ["x"]}}),
    "exported to a number": state({**STATE, "env_steps": 10**9, "exported": [1]}),
    "sampler of another kind": state({**STATE, "sampler": [1]}),
    "best of another kind": state({**STATE, "best_return": "high"}),
}
NAMES: dict[str, Spoil] = {
    "module": setting("settings", "env", value="evil:CartPole-v1"),
    "cluster": in_turn(
        setting("settings", "sampler", value="ray"),
        setting("settings", "ray_address", value="203.0.113.1:6379"),
    ),
    "model file": in_turn(
        setting("settings", "env", value="Ant-v5"),
        setting("settings", "env_kwargs", value={"xml_file": "/etc/passwd"}),
    ),
    "nothing": setting("settings", "env", value="NoSuchEnv-v0"),
    "parent": setting("settings", "env", value="x/.."),
    "path": setting("settings", "env", value="../../../tmp/x"),
    "zero": setting("settings", "env", value="a\0b"),
}
PROGRESS: dict[str, Spoil] = {
    "pickle": content("progress.csv", pickled),
    "zeros": content("progress.csv", lambda _: bytes(100_000)),
    "one huge cell": content("progress.csv", lambda _: b'update,a\n1,"' + b"x" * 10**6),
    "no update": content("progress.csv", lambda _: b"a,b\n1,2\n"),
    "update of no number": content("progress.csv", lambda _: b"update\nnan\n"),
    "twice the same column": content("progress.csv", lambda _: b"update,a,a\n1,2,3\n"),
    "no text": content("progress.csv", lambda _: b"\xff\xfe,update\n"),
    "link": link("progress.csv", ""),
}


def hostile(good: Path, here: Path, spoil: Spoil) -> Path:
    run = here / "hostile"
    shutil.copytree(good, run)
    spoil(run, here)
    return run


def check(run: Path, here: Path, way: Callable[[Path, Any], None], capsys: Any) -> None:
    way(run, capsys)
    assert not (here / "MARK").exists()
    assert "evil" not in sys.modules


def test_the_good_run_goes_on(good_run: Path, tmp_path: Path) -> None:
    """It is for what was spoilt that the others are refused."""
    shutil.copytree(good_run, tmp_path / "run")
    session = resume({}, tmp_path / "run", [])
    assert isinstance(session, Session)
    session.close()
    assert session.environments_go_on


# A network of 2^24 observations takes long to be refused, and by each way alike.
SLOW = ("large observation", "many choices")


@pytest.mark.parametrize(
    ("name", "way"),
    [
        as_case((name, way), is_short=name not in SLOW or way is by_resuming)
        for name in SETTINGS
        for way in RECORD
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
@pytest.mark.filterwarnings("ignore:Passed over damaged")
def test_settings(good_run: Path, tmp_path: Path, capsys: Any, name: str, way: Any) -> None:
    run = hostile(good_run, tmp_path, SETTINGS[name])
    if way is by_comparing and name in TOO_LARGE:
        assert compare(run, run).parting is None
        return
    check(run, tmp_path, way, capsys)


@pytest.mark.parametrize("way", WHOLE, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(good_run: Path, tmp_path: Path, capsys: Any, name: str, way: Any) -> None:
    check(hostile(good_run, tmp_path, CHECKPOINTS[name]), tmp_path, way, capsys)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(good_run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    check(hostile(good_run, tmp_path, ENVIRONMENTS[name]), tmp_path, by_resuming, capsys)


@pytest.mark.parametrize("name", STATES)
def test_states(good_run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    check(hostile(good_run, tmp_path, STATES[name]), tmp_path, by_resuming, capsys)


@pytest.mark.parametrize("name", NAMES)
def test_names(good_run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    """Of environments and clusters: neither imported, nor connected to, nor taken for a path."""
    run = hostile(good_run, tmp_path, NAMES[name])
    check(run, tmp_path, by_resuming, capsys)
    if name != "cluster":
        check(run, tmp_path, by_beginning, capsys)
    if name in ("parent", "zero"):
        check(run, tmp_path, by_exporting, capsys)


def test_a_cluster_is_not_joined_because_workers_are_asked_for(
    good_run: Path, tmp_path: Path
) -> None:
    address = setting("settings", "ray_address", value="203.0.113.1:6379")
    run = hostile(good_run, tmp_path, address)
    with pytest.raises(ValueError, match="Give --ray_address if you trust it"):
        changed_record({"sampler": "ray"}, run)
    own = {"sampler": "ray", "ray_address": None}
    assert changed_record(own, run).config.ray_address is None


def test_a_terminal_only_shows_what_a_stranger_wrote(
    good_run: Path, tmp_path: Path, capsys: Any
) -> None:
    run = hostile(good_run, tmp_path, setting("settings", "env", value="evil:\x1b[2J-v0"))
    one_line(train, capsys, "--resume", f"--logdir={run}")
    with pytest.raises(ValueError, match="would be imported") as refused:
        changed_record({}, run)
    assert "\x1b" in str(refused.value)
    done = {**STATE, "env_steps": 128, "exported": "\x1b[2J"}
    setting("settings", "env", value=ENV)(run, tmp_path)
    state(done)(run, tmp_path)
    arguments = ["train", "--resume", f"--logdir={run}", "--export_dir=out"]
    assert command_line.run(train.main, train.FLAGS, arguments) == 0
    assert r"left \x1b[2J." in capsys.readouterr().out


def test_an_export_stays_in_its_place(good_run: Path, tmp_path: Path) -> None:
    run = hostile(good_run, tmp_path, NAMES["path"])
    before = set(tmp_path.parent.iterdir())
    for name in export.FLAGS:
        export.FLAGS[name].unparse()
    argv = ["export", f"--logdir={run}", "--noverify"]
    assert command_line.run(export.main, export.FLAGS, argv) == 0
    assert os.listdir(tmp_path / "saved_models") == ["x"]
    assert set(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize("name", PROGRESS)
@pytest.mark.filterwarnings("ignore:Line .* cannot be read")
def test_progress(good_run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    check(hostile(good_run, tmp_path, PROGRESS[name]), tmp_path, by_comparing, capsys)


# With its columns named, a run goes on and says which rows it lacks.
@pytest.mark.parametrize(
    "name", [name for name in PROGRESS if name not in ("one huge cell", "update of no number")]
)
def test_progress_that_is_none_is_not_gone_on_with(
    good_run: Path, tmp_path: Path, capsys: Any, name: str
) -> None:
    check(hostile(good_run, tmp_path, PROGRESS[name]), tmp_path, by_resuming, capsys)


MODELS: dict[str, Callable[[Path, Path], None]] = {
    "pickled graph": lambda model, here: (
        (model / "saved_model.pb").write_bytes(pickled(here)) and None
    ),
    "pickled numbers": lambda model, here: (
        (model / "variables" / "variables.index").write_bytes(pickled(here)) and None
    ),
    "no numbers": lambda model, _: shutil.rmtree(model / "variables"),
    "deep metadata": lambda model, _: write_metadata(model, DEEP),
    "pickled metadata": lambda model, here: write_metadata(model, pickled(here).decode()),
    "metadata that are a pipe": lambda model, here: pipe("metadata.json")(
        model / "assets.extra", here
    ),
    "metadata of another kind": lambda model, _: write_metadata(model, "[]"),
    "metadata of a huge space": lambda model, _: write_metadata(
        model, json.dumps({"observation_space": {**BOX, "shape": [2**30]}})
    ),
}


def write_metadata(model: Path, text: str) -> None:
    (model / "assets.extra" / "metadata.json").write_text(text)


@pytest.mark.parametrize("name", MODELS)
def test_models(good_model: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(good_model, model)
    MODELS[name](model, tmp_path)
    check(model, tmp_path, by_evaluating, capsys)


def test_a_models_metadata_import_nothing(good_model: Path, tmp_path: Path, capsys: Any) -> None:
    model = tmp_path / "model"
    shutil.copytree(good_model, model)
    metadata = json.loads((model / "assets.extra" / "metadata.json").read_text())
    metadata["training"] = {"env": "evil:CartPole-v1"}
    write_metadata(model, json.dumps(metadata))
    one_line(evaluate, capsys, f"--saved_model={model}", "--episodes=1")
    assert "evil" not in sys.modules


def test_a_spoilt_newest_checkpoint_falls_back(good_run: Path, tmp_path: Path) -> None:
    """The only hostile directory that is of use: the one before it is whole."""
    run = hostile(
        good_run, tmp_path, lambda run, here: linked("variables.index")(newest(run), here)
    )
    with pytest.warns(RuntimeWarning, match=r"variables\.index is no plain file"):
        assert run_directory.load_run(run).step == 0


def test_the_mark_is_left_by_who_unpickles(tmp_path: Path) -> None:
    """The pickles of these tests are live."""
    (tmp_path / "state.pkl").write_bytes(pickled(tmp_path))
    code = "import pickle; pickle.load(open('state.pkl', 'rb'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "MARK").exists()


def test_in_processes_of_their_own(good_run: Path, tmp_path: Path, run_cli: Any) -> None:
    """No traceback, a status that is not 0, nothing executed; the same as in this process."""
    run = hostile(good_run, tmp_path, CHECKPOINTS["all pickles"])
    for command, *arguments in (
        ("export", f"--logdir={run}"),
        ("train", "--resume", f"--logdir={run}"),
    ):
        done = run_cli(command, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: No checkpoint in ")
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "MARK").exists()


def test_settings_that_a_user_gives_are_of_the_same_kind() -> None:
    """What a file may not ask for, a flag may not either."""
    for name, value in {"num_envs": 10**12, "hidden_sizes": (10**12,)}.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            settle({"env": ENV, name: value})
