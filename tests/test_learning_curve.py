from __future__ import annotations

import builtins

import numpy as np
import pytest

from trpo_tf.learning_curve import plot_learning_curve

pytest.importorskip("matplotlib")
from matplotlib.image import imread

COLUMNS = "update,env_steps,episode_return_mean,eval_return_mean,eval_return_std\n"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "progress.csv"
    random = np.random.default_rng(0)
    rows = [
        f"{u},{2048 * u},{'' if u < 3 else 40 * u + random.normal(0, 99)},"
        + (f"{44 * u},{5 * u}" if u % 10 == 0 else ",")
        for u in range(1, 101)
    ]
    path.write_text(COLUMNS + "\n".join(rows) + "\n")
    return path


def colours(png):
    pixels = (imread(png)[..., :3] * 255).round().astype(int)
    return {f"#{colour:06x}" for colour in np.unique(pixels @ [0x10000, 0x100, 1])}


def test_picture_shows_training_and_evaluations(csv, tmp_path):
    png = tmp_path / "learning_curve.png"
    png.write_text("an older one")
    plot_learning_curve(csv, png, "Walker2d-v5")
    assert imread(png).shape == (720, 1200, 4)
    assert {"#1f6fb4", "#e07b22"} <= colours(png)
    assert sorted(path.name for path in tmp_path.iterdir()) == [png.name, csv.name]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", set()),
        (COLUMNS, set()),
        (COLUMNS + "1,2048,,,\n", set()),
        (COLUMNS + "1,2048,3.5,,\n", {"#1f6fb4"}),
        (COLUMNS + "1,2048,nan,3.5,nan\n", {"#e07b22"}),
        (COLUMNS + "1,2048,inf,,\n2,4096,5.0,,\n3,6144,6.0,,\n", {"#1f6fb4"}),
        ("update,env_steps\n1,2048\n", set()),
        (COLUMNS + "1,x,y,,\n", set()),
        (COLUMNS + "1,inf,2,,\n", set()),
    ],
)
def test_little_or_nothing_to_show(tmp_path, content, shown):
    csv, png = tmp_path / "progress.csv", tmp_path / "curve.png"
    csv.write_text(content)
    plot_learning_curve(csv, png)
    assert colours(png) & {"#1f6fb4", "#e07b22"} == shown


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"progress\.csv"):
        plot_learning_curve(tmp_path / "progress.csv", tmp_path / "curve.png")


def test_picture_that_cannot_be_written(csv, tmp_path):
    with pytest.raises(OSError, match="absent"):
        plot_learning_curve(csv, tmp_path / "absent" / "curve.png")


def test_without_matplotlib(csv, tmp_path, monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "trpo_tf\[plot\]"'):
        plot_learning_curve(csv, tmp_path / "curve.png")
