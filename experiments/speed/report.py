"""What `run` has measured: ratios with their spread, as Markdown, `ratios.csv` and `speed.png`.

python -m experiments.speed.report
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from experiments.speed import cases
from experiments.speed.results import FLOOR, HERE, RATIOS, RESULTS, VERSIONS, read, write
from experiments.speed.sides import OURS, OURS_IN_GYMNASIUM, SB3, TIANSHOU

_PEERS = (SB3, TIANSHOU)
_COLOURS = {SB3: "#1f6fb4", TIANSHOU: "#d1662a"}
_PARTS = {
    "update": "Policy update",
    "value": "Value regression",
    "collection": "Collection",
    "end_to_end": "End to end",
    "start_up": "Start-up",
    "memory": "Peak memory",
}


_WORDS = ("case", "accepted", "revision")
_RATIO_COLUMNS = (
    "part",
    "case",
    "side",
    "times_better_than",
    "median",
    "low",
    "high",
    "alternations",
)


class Case(NamedTuple):
    """All measurements of one case.

    Attributes:
        part: of the benchmark.
        name: of the case.
        unit: "steps/s", of which more is better, or one of which less is.
        values: by side, then by alternation.
    """

    part: str
    name: str
    unit: str
    values: dict[str, dict[int, float]]

    def times(self, side: str, other: str) -> list[float]:
        """How many times better `side` was than `other`, by alternation."""
        ours, theirs = self.values.get(side, {}), self.values.get(other, {})
        ratios = [ours[number] / theirs[number] for number in sorted(ours.keys() & theirs.keys())]
        return ratios if self.unit == "steps/s" else [1 / ratio for ratio in ratios]


def load() -> list[Case]:
    """The cases in the order in which they were measured."""
    found: dict[tuple[str, str], Case] = {}
    for row in read(RESULTS):
        case = found.setdefault(
            (row["part"], row["case"]), Case(row["part"], row["case"], row["unit"], {})
        )
        case.values.setdefault(row["side"], {})[int(row["alternation"])] = float(row["value"])
    return sorted(found.values(), key=lambda case: list(_PARTS).index(case.part))


def main() -> None:
    loaded = load()
    print(_versions())
    header = ("part", "case", OURS, *_PEERS, *(f"times better than {peer}" for peer in _PEERS))
    print(_markdown(header, [_row(case) for case in loaded]))
    for case in loaded:
        if case.part == "collection":
            print(f"{case.name}, of raw stepping: {_shares(case)}.")
        for peer in _PEERS:
            times = case.times(OURS_IN_GYMNASIUM, peer)
            if times:
                print(f"{_PARTS[case.part]}, {case.name}, ours in SyncVectorEnv:")
                print(f"  {_value(case, OURS_IN_GYMNASIUM)}, {spread(times)} times {peer}.")
        times = case.times(OURS, OURS_IN_GYMNASIUM)
        if times:
            print(f"{_PARTS[case.part]}, {case.name}, EnvPool / SyncVectorEnv: {spread(times)}.")
    growth = _growth(loaded)
    if growth:
        print(f"Update of 100,000 rows / of 25,000 rows, 64x64: {spread(growth)}.")
    print()
    print(_floor())
    print(_revisions())
    write(RATIOS, _RATIO_COLUMNS, _ratios(loaded))
    draw(loaded)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _ratios(loaded: Iterable[Case]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for case in loaded:
        pairs = [(OURS, other) for other in (*_PEERS, OURS_IN_GYMNASIUM)]
        pairs += [(OURS_IN_GYMNASIUM, peer) for peer in _PEERS]
        pairs += [(side, f"raw beside {side}") for side in (OURS, SB3)]
        for side, other in pairs:
            times = case.times(side, other)
            if times:
                numbers = (statistics.median(times), min(times), max(times))
                shown = [f"{number:.4g}" for number in numbers]
                values = (case.part, case.name, side, other, *shown, len(times))
                rows.append(dict(zip(_RATIO_COLUMNS, values, strict=True)))
    return rows


def _revisions() -> str:
    """Which cases were measured at which commit."""
    cases_of: dict[str, list[str]] = {}
    for row in read(RESULTS):
        names = cases_of.setdefault(row["revision"], [])
        name = f"{_PARTS[row['part']]}: {row['case']}"
        if name not in names:
            names.append(name)
    return "\n".join(f"{revision}: {'; '.join(names)}." for revision, names in cases_of.items())


def draw(loaded: Iterable[Case]) -> None:
    """How many times better than each peer: a point an alternation, a larger one for the median."""
    shown = [case for case in loaded if any(case.times(OURS, peer) for peer in _PEERS)]
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(shown) + 1.4), dpi=110)
    for peer, offset in zip(_PEERS, (-0.14, 0.14), strict=True):
        is_labelled = False
        for place, case in enumerate(shown):
            times = case.times(OURS, peer)
            if not times:
                continue
            height = place + offset
            axes.plot(times, [height] * len(times), ".", color=_COLOURS[peer], alpha=0.5)
            label = None if is_labelled else f"than {peer}"
            median = statistics.median(times)
            axes.plot(median, height, "o", color=_COLOURS[peer], markersize=7, label=label)
            axes.annotate(
                f"{median:.1f}", (median, height), (7, -3), textcoords="offset points", fontsize=7
            )
            is_labelled = True
    axes.axvline(1, color="#5b6570", linewidth=1)
    axes.set_yticks(np.arange(len(shown)), [f"{_PARTS[case.part]}: {case.name}" for case in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    ticks = (0.25, 0.5, 1, 2, 4, 8, 16)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("times better (faster, or less memory)")
    axes.margins(x=0.06)
    axes.grid(True, color="#dde2e7")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "speed.png")
    plt.close(figure)


def _row(case: Case) -> list[str]:
    values = [_value(case, side) for side in (OURS, *_PEERS)]
    times = [case.times(OURS, peer) for peer in _PEERS]
    return [
        _PARTS[case.part],
        case.name,
        *values,
        *(spread(part) if part else "" for part in times),
    ]


def _value(case: Case, side: str) -> str:
    values = list(case.values.get(side, {}).values())
    if not values:
        return ""
    median = statistics.median(values)
    if case.unit == "s" and median < 1:
        return f"{1000 * median:.3g} ms"
    return f"{median:.0f} {case.unit}" if median >= 100 else f"{median:.3g} {case.unit}"


def _shares(case: Case) -> str:
    shares = (
        f"{side} {spread(case.times(side, f'raw beside {side}'), '.3f')}"
        for side in (OURS, SB3)
        if case.times(side, f"raw beside {side}")
    )
    return ", ".join(shares)


def _growth(loaded: Iterable[Case]) -> list[float]:
    small, large = (
        next((case.values[OURS] for case in loaded if case.name == name), {})
        for name in (cases.UPDATES[2].name, cases.UPDATES[3].name)
    )
    return [large[number] / small[number] for number in sorted(small.keys() & large.keys())]


def _floor() -> str:
    by_case: dict[str, list[dict[str, float]]] = {}
    for row in read(FLOOR):
        numbers = {name: float(row[name]) for name in row if name not in _WORDS}
        by_case.setdefault(row["case"], []).append(numbers)
    rows = []
    for name, measured in by_case.items():
        first = measured[0]
        by_square = [
            row["gflop"] / row["square_gflop_per_second"] / row["seconds"] for row in measured
        ]
        by_products = [row["products_seconds"] / row["seconds"] for row in measured]
        rows.append(
            [
                name,
                f"{first['cg_iterations']:.0f} + {first['candidates']:.0f}",
                f"{first['gflop']:.3g}",
                spread([row["square_gflop_per_second"] for row in measured], ".0f"),
                spread(by_square),
                spread([row["gflop"] / row["products_seconds"] for row in measured], ".0f"),
                spread(by_products),
            ]
        )
    header = (
        "update",
        "CG + candidates",
        "GFLOP",
        "1024³: GFLOP/s",
        "of that limit",
        "its own products: GFLOP/s",
        "of that limit",
    )
    return _markdown(header, rows)


def _versions() -> str:
    by_side: dict[str, list[str]] = {}
    for row in read(VERSIONS):
        by_side.setdefault(row["side"], []).append(f"{row['package']} {row['version']}")
    return "\n".join(f"{side}: {', '.join(parts)}." for side, parts in by_side.items()) + "\n"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
