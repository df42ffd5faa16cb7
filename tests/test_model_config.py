"""Labels of a model config, from the first version to a roll-back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorflow_serving.config import model_server_config_pb2

from trpo_tf.serving import model_config


def versions_of(base: Path, *numbers: int) -> Path:
    for number in numbers:
        (base / str(number)).mkdir(parents=True)
        (base / str(number) / "saved_model.pb").touch()
    return base


def served(config, name: str) -> tuple[list[int], dict[str, int]]:
    model = model_config.find_model(config, name)
    return list(model.model_version_policy.specific.versions), dict(model.version_labels)


def test_a_roll_out_and_a_roll_back(tmp_path: Path) -> None:
    base = versions_of(tmp_path / "Walker2d", 1, 3)
    config = model_server_config_pb2.ModelServerConfig()
    assert model_config.add_newest(config, base) == 3
    assert served(config, "Walker2d") == ([3], {"stable": 3, "canary": 3})
    with pytest.raises(ValueError, match=r"nothing to promote: canary and stable .* version 3"):
        model_config.promote(config, "Walker2d")
    versions_of(base, 4)
    assert model_config.add_newest(config, base) == 4
    assert served(config, "Walker2d") == ([3, 4], {"stable": 3, "canary": 3})
    assert model_config.try_out(config, "Walker2d") == 4
    assert served(config, "Walker2d") == ([3, 4], {"stable": 3, "canary": 4})
    with pytest.raises(ValueError, match="nothing to roll back to"):
        model_config.roll_back(config, "Walker2d")
    assert model_config.promote(config, "Walker2d") == 4
    assert served(config, "Walker2d") == ([3, 4], {"stable": 4, "canary": 4, "previous": 3})
    assert model_config.roll_back(config, "Walker2d") == 3
    assert served(config, "Walker2d") == ([3, 4], {"stable": 3, "canary": 4})
    assert model_config.promote(config, "Walker2d") == 4


def test_versions_without_a_label_are_dropped_at_the_next_promotion(tmp_path: Path) -> None:
    base = versions_of(tmp_path / "m", 1)
    config = model_server_config_pb2.ModelServerConfig()
    model_config.add_newest(config, base)
    for number in (2, 3):
        versions_of(base, number)
        model_config.add_newest(config, base)
        model_config.try_out(config, "m")
        model_config.promote(config, "m")
    assert served(config, "m") == ([2, 3], {"stable": 3, "canary": 3, "previous": 2})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    for name in ("a", "b"):
        model_config.add_newest(config, versions_of(tmp_path / name, 1))
    model_config.write_config(tmp_path / "models.config", config)
    assert model_config.read_config(tmp_path / "models.config") == config
    text = (tmp_path / "models.config").read_text()
    assert 'model_platform: "tensorflow"' in text
    assert text.startswith("model_config_list {")


def test_bad_configs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("model_config_list { nonsense }")
    with pytest.raises(ValueError, match="bad is no model config"):
        model_config.read_config(tmp_path / "bad")
    config = model_server_config_pb2.ModelServerConfig()
    with pytest.raises(ValueError, match="no model 'a' in the config; its models: none"):
        model_config.promote(config, "a")
    with pytest.raises(ValueError, match="no SavedModel"):
        model_config.add_newest(config, tmp_path)
    model_config.add_newest(config, versions_of(tmp_path / "x" / "a", 1))
    with pytest.raises(ValueError, match="a is served from"):
        model_config.add_newest(config, versions_of(tmp_path / "y" / "a", 1))


def test_newer_versions_than_the_promoted_one_stay(tmp_path: Path) -> None:
    base = versions_of(tmp_path / "m", 1)
    config = model_server_config_pb2.ModelServerConfig()
    model_config.add_newest(config, base)
    versions_of(base, 2)
    model_config.add_newest(config, base)
    model_config.try_out(config, "m")
    versions_of(base, 3)
    model_config.add_newest(config, base)
    assert model_config.promote(config, "m") == 2
    assert served(config, "m") == ([1, 2, 3], {"stable": 2, "canary": 2, "previous": 1})
    assert model_config.try_out(config, "m") == 3


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_a_config_without_a_label_is_left_as_it_is(tmp_path: Path, label: str) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    model_config.add_newest(config, versions_of(tmp_path / "m", 1))
    del model_config.find_model(config, "m").version_labels[label]
    before = config.SerializeToString(deterministic=True)
    with pytest.raises(ValueError, match=f"m has no label '{label}' in the config"):
        model_config.promote(config, "m")
    assert config.SerializeToString(deterministic=True) == before


def test_a_config_that_names_no_versions_says_so(tmp_path: Path) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(name="m", base_path=str(tmp_path / "m"))
    for policy in ("latest", "all"):
        getattr(model.model_version_policy, policy).SetInParent()
        for move in (model_config.try_out, model_config.promote):
            with pytest.raises(
                ValueError, match=rf"names no versions of m \(its policy is '{policy}'"
            ):
                move(config, "m")


def test_one_version_s_directory_is_refused(tmp_path: Path) -> None:
    base = versions_of(tmp_path / "m", 3)
    config = model_server_config_pb2.ModelServerConfig()
    with pytest.raises(ValueError, match="one version itself") as refused:
        model_config.add_newest(config, base / "3")
    assert str(base) in str(refused.value)
    assert not config.model_config_list.config
