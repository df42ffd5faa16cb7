from __future__ import annotations

import os

import pytest

from trpo_tf import manifest


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "numbers").write_bytes(bytes(range(256)))
    (tmp_path / "empty").write_bytes(b"")
    manifest.write_manifest(tmp_path, "example")
    return tmp_path


def test_whole(directory):
    assert manifest.find_damage(directory, "example") is None
    assert manifest.find_damage(directory, "example", ["numbers", "empty"]) is None


def test_all_that_is_needed_must_be_listed_and_nothing_else_lie_there(directory):
    damage = manifest.find_damage(directory, "example", ["numbers", "state"])
    assert damage == "manifest.json does not list state"
    os.mkfifo(directory / "pipe\x1b")
    damage = manifest.find_damage(directory, "example")
    assert damage == "'pipe\\x1b' is not listed in manifest.json"


def test_every_byte_counts(directory):
    for name in ("numbers", manifest.FILE_NAME):
        whole = (directory / name).read_bytes()
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= 1
            (directory / name).write_bytes(changed)
            damage = manifest.find_damage(directory, "example")
            assert damage is not None, (name, position)
            assert damage.startswith(name), (damage, position)
        (directory / name).write_bytes(whole)
    assert manifest.find_damage(directory, "example") is None


@pytest.mark.parametrize("name", ["numbers", "empty", manifest.FILE_NAME])
@pytest.mark.parametrize(
    "change", ["delete", "truncate", "grow", "link", "directory", "pipe", "broken link"]
)
def test_files_that_are_not_as_written(directory, tmp_path_factory, name, change):
    path = directory / name
    whole = path.read_bytes()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / name
    if change == "truncate" and whole:
        path.write_bytes(whole[: len(whole) // 2])
    elif change == "grow":
        path.write_bytes(whole + b"x")
    else:
        path.unlink()
    if change == "link":
        elsewhere.write_bytes(whole)
        path.symlink_to(elsewhere)
    elif change == "directory":
        path.mkdir()
    elif change == "pipe":
        os.mkfifo(path)
    elif change == "broken link":
        path.symlink_to(elsewhere)
    damage = manifest.find_damage(directory, "example")
    assert damage is not None
    assert name in damage


def test_other_directory_in_its_place(directory):
    assert manifest.find_damage(directory, "other") == "manifest.json belongs to 'example'"
    link = directory.parent / f"{directory.name}-link"
    link.symlink_to(directory)
    assert manifest.find_damage(link, "example") == "it is no directory"
    assert manifest.find_damage(directory / "numbers", "example") == "it is no directory"


@pytest.mark.parametrize(
    "content",
    [
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": "trpo_tf manifest 1", "label": "example", "files": {}}',
        '{"files": 3, "label": "example"}',
        '{"files": {"numbers": 3}, "label": "example"}',
        '{"files": {"numbers": {"bytes": 1e400, "sha256": ""}}, "label": "example"}',
        "x" * 2_000_000,
    ],
    ids=lambda content: content[:20],
)
def test_hostile_manifests(directory, content):
    (directory / manifest.FILE_NAME).write_text(content)
    assert "manifest.json" in str(manifest.find_damage(directory, "example"))


@pytest.mark.parametrize("name", ["../numbers", "/etc/passwd", "inner/numbers", "", "..", ".x"])
def test_paths_that_lead_elsewhere(directory, name):
    digest = "0" * 64
    text = manifest._canonical("example", {name: {"bytes": 256, "sha256": digest}})
    (directory / manifest.FILE_NAME).write_text(text)
    assert "not plain" in str(manifest.find_damage(directory, "example"))


def test_read_errors_are_a_damage(directory, monkeypatch):
    def fail(*_args):
        raise OSError(5, "Input/output error", str(directory / "numbers"))

    monkeypatch.setattr(manifest, "_sha256", fail)
    damage = manifest.find_damage(directory, "example")
    assert damage == "numbers cannot be read: Input/output error"


def test_a_file_of_any_size_is_not_hashed(directory, monkeypatch):
    monkeypatch.setattr(manifest, "_MOST_FILE_BYTES", 255)
    expected = "numbers has 256 bytes, more than 255"
    assert manifest.find_damage(directory, "example") == expected
