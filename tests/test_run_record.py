from __future__ import annotations

import dataclasses
import json
import math

import gymnasium as gym
import pytest

from trpo_tf import provenance, run_record
from trpo_tf.config import TRPOConfig
from trpo_tf.run_record import RunRecord

SPACES = (
    gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (4, 8, 8), "uint8")}),
    gym.spaces.Box(-math.inf, math.inf, (3,)),
)


@pytest.fixture
def record():
    config = TRPOConfig(env="Walker2d-v5", max_kl=0.02, env_kwargs={"a": [1, None]})
    session = provenance.describe_session(["train", "--env=Walker2d", "ä"])
    return RunRecord(config, {"max_kl": "preset Walker2d"}, *SPACES, (session,))


@pytest.fixture
def path(tmp_path, record):
    run_record.write_record(tmp_path / "config.json", record)
    return tmp_path / "config.json"


def change(path, key, value):
    content = json.loads(path.read_text())
    place = content
    for part in key[:-1]:
        place = place[part]
    place[key[-1]] = value
    path.write_text(json.dumps(content))


def test_comes_back(path, record):
    read = run_record.read_record(path)
    assert read == record
    resumed = read.resumed(provenance.describe_session(["train", "--resume"]))
    run_record.write_record(path, resumed)
    again = run_record.read_record(path)
    assert len(again.sessions) == 2
    assert dataclasses.replace(again, sessions=record.sessions) == record


def test_settings_of_an_older_version_take_defaults(path, record):
    content = json.loads(path.read_text())
    del content["settings"]["keep_checkpoints"]
    del content["sessions"]
    del content["origins"]
    path.write_text(json.dumps(content))
    read = run_record.read_record(path)
    assert read.config == record.config
    assert read.sessions == ()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (["extra"], 1, "unknown key 'extra'"),
        (["format"], "trpo_tf run 2", "'trpo_tf run 2'"),
        (["settings"], None, "Settings must be a JSON object"),
        (["settings", "max_kl"], "0.01", "max_kl must be a number"),
        (["settings", "max_kl"], math.nan, "max_kl must be a finite number"),
        (["settings", "max_kls"], 0.01, "Did you mean 'max_kl'"),
        (["settings", "num_envs"], 0, r"num_envs must be in \[1, 65536\]"),
        (["settings", "env"], 3, "env must be"),
        (["origins"], [], "origins must be an object"),
        (["origins", "nonsense"], "flag", "no setting 'nonsense'"),
        (["origins", "max_kl"], 1, r"origins\['max_kl'\] must be a text"),
        (["observation_space"], {"type": "os.system"}, "os.system"),
        (["action_space"], None, "cannot be used"),
        (["sessions"], {}, "sessions must be a list"),
        (["sessions", 0, "cpus"], True, "cpus must be a whole number"),
        (["sessions", 0, "__class__"], "x", "unknown key '__class__'"),
    ],
)
def test_what_is_wrong_is_named(path, key, value, words):
    change(path, key, value)
    with pytest.raises(ValueError, match=words) as raised:
        run_record.read_record(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"\x80\x04\x95pickle", b"[" * 200_000, b"1" * 5_000, b"\xff\xfe"],
    ids=lambda content: repr(content[:8]),
)
def test_damaged_files(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json cannot be used"):
        run_record.read_record(path)


def test_huge_and_absent_files(path):
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ValueError, match="more than"):
        run_record.read_record(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        run_record.read_record(path)


def test_other_spaces_are_refused(record):
    record.check_spaces(*SPACES)
    with pytest.raises(ValueError, match=r"action space Box.*\(3,\).*has Box.*\(4,\)"):
        record.check_spaces(SPACES[0], gym.spaces.Box(-math.inf, math.inf, (4,)))
    with pytest.raises(ValueError, match=r"Walker2d-v5 with observation space"):
        record.check_spaces(gym.spaces.Discrete(2), SPACES[1])
