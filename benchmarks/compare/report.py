"""From figures to a table: medians, with the middle half of the rounds beside them, and the ratios to the targets."""

from __future__ import annotations

import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.compare.workloads import Sample

COLUMNS = (
    "cold poll ms", "cold body ms", "hello ms", "hello CPU µs", "burst ms", "burst CPU ms", "spaced p50 µs",
    "spaced p99 µs", "bulk MB/s", "bulk CPU ms", "memory KiB", "resident KiB", "32 streams MiB", "times one",
)  # fmt: skip


class Results:
    """All values of all rounds: by runtime, then by column."""

    def __init__(self, names: Sequence[str]) -> None:
        self.values: dict[str, dict[str, list[float]]] = {name: {} for name in names}

    def add(self, runtime: str, sample: Sample) -> None:
        """One more value."""
        self.values.setdefault(runtime, {}).setdefault(sample.name, []).append(sample.value)

    def median(self, runtime: str, column: str) -> float | None:
        """The median, None where nothing was measured."""
        values = self.values.get(runtime, {}).get(column)
        return statistics.median(values) if values else None

    def spread(self, runtime: str, column: str) -> float | None:
        """Half the distance of the quartiles, as a share of the median."""
        return _spread(self.values.get(runtime, {}).get(column, []))

    def ratios(self, ours: tuple[str, str], theirs: tuple[str, str]) -> list[float]:
        """The rounds' own ratios, whose median counts: what slows a machine for a while slows both."""
        pairs = [self.values.get(runtime, {}).get(column, []) for runtime, column in (ours, theirs)]
        return [mine / other for mine, other in zip(*pairs, strict=False) if other]


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 4:
        return None
    low, middle, high = statistics.quantiles(values, n=4)
    return abs((high - low) / 2 / middle) if middle else None


class Outcome(NamedTuple):
    """How a target stands: its name, its bound in words, the ratio, the spread as a share of it, whether it is met."""

    text: str
    bound: str
    ratio: float
    spread: float | None
    met: bool


class Target(NamedTuple):
    """A ratio of two figures, and the bound that it has to keep."""

    text: str
    ours: tuple[str, str]
    theirs: tuple[str, str]
    bound: float
    keeps: Callable[[float, float], bool]


def _below(value: float, bound: float) -> bool:
    return value <= bound


def _above(value: float, bound: float) -> bool:
    return value >= bound


def _targets() -> list[Target]:
    raw, fastapi = "asgi-stream, raw", "asgi-stream, FastAPI"
    rows: list[tuple[str, str, str, str, float, Callable[[float, float], bool]]] = [
        ("hello: total against Mangum, raw", raw, "hello ms", "Mangum, raw", 0.6, _below),
        ("hello: total against Mangum, FastAPI", fastapi, "hello ms", "Mangum, FastAPI", 0.6, _below),
        ("hello: CPU against Mangum, raw", raw, "hello CPU µs", "Mangum, raw", 0.8, _below),
        ("hello: CPU against Mangum, FastAPI", fastapi, "hello CPU µs", "Mangum, FastAPI", 0.8, _below),
        ("spaced: p50 against a plain write", raw, "spaced p50 µs", "plain write", 1.15, _below),
        ("spaced: p99 against Node.js", raw, "spaced p99 µs", "Node.js", 0.6, _below),
        ("burst: against the C floor", raw, "burst ms", "C floor", 1.35, _below),
        ("burst, sharing writes: against Node.js", f"{raw}, sharing", "burst ms", "Node.js", 0.75, _below),
        ("burst, sharing writes: CPU against Node.js", f"{raw}, sharing", "burst CPU ms", "Node.js", 0.75, _below),
        ("burst, sharing, FastAPI: against Mangum", f"{fastapi}, sharing", "burst ms", "Mangum, FastAPI", 1.1, _below),
        ("burst, sharing writes, FastAPI: CPU", f"{fastapi}, sharing", "burst CPU ms", "Mangum, FastAPI", 1.1, _below),
        ("bulk: MB/s against the C floor", raw, "bulk MB/s", "C floor", 0.85, _above),
        ("bulk: CPU against LWA, raw", raw, "bulk CPU ms", "LWA, raw", 0.5, _below),
        ("cold: poll against bare imports, raw", raw, "cold poll ms", "bare imports, raw", 1.1, _below),
        ("cold: poll against bare imports, FastAPI", fastapi, "cold poll ms", "bare imports, FastAPI", 1.0, _below),
        ("cold: body against Mangum, raw", raw, "cold body ms", "Mangum, raw", 1.0, _below),
        ("cold: body against Mangum, FastAPI", fastapi, "cold body ms", "Mangum, FastAPI", 1.0, _below),
        ("cold: body against LWA, raw", raw, "cold body ms", "LWA, raw", 0.5, _below),
        ("cold: body against LWA, FastAPI", fastapi, "cold body ms", "LWA, FastAPI", 0.7, _below),
        ("cold: body against Node.js", raw, "cold body ms", "Node.js", 0.75, _below),
    ]  # fmt: skip
    return [
        Target(text, (ours, column), (theirs, column), bound, keeps)
        for text, ours, column, theirs, bound, keeps in rows
    ]


def table(results: Results) -> str:
    """The figures and the ratios, as two tables in Markdown."""
    columns = [column for column in COLUMNS if any(column in values for values in results.values.values())]
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for runtime in results.values:
        cells = []
        for column in columns:
            median = results.median(runtime, column)
            cells.append("" if median is None else with_spread(median, results.spread(runtime, column)))
        lines.append(f"| {runtime} | {' | '.join(cells)} |")
    lines += ["", "| target | bound | here | |", "|---|---|---|---|"]
    for text, bound, ratio, spread, met in outcomes(results):
        lines.append(f"| {text} | {bound} | {with_spread(ratio, spread)} | {'met' if met else 'missed'} |")
    return "\n".join(lines)


def outcomes(results: Results) -> list[Outcome]:
    """Each target that was measured."""
    found = []
    for target in _targets():
        if ratios := results.ratios(target.ours, target.theirs):
            ratio = statistics.median(ratios)
            bound = f"{'≤' if target.keeps is _below else '≥'} {target.bound:g}"
            found.append(Outcome(target.text, bound, ratio, _spread(ratios), target.keeps(ratio, target.bound)))
    for kind in ("raw", "FastAPI"):
        name = f"asgi-stream, {kind}"
        grown, times_one = results.median(name, "memory KiB"), results.median(name, "times one")
        if grown is not None:
            text = f"memory: growth over 200 MiB, in MiB, {kind}"
            found.append(Outcome(text, "≤ 2", grown / 1024, None, grown <= 2048))
        if times_one is not None:
            found.append(Outcome(f"memory: 32 streams over one, {kind}", "≤ 1.2", times_one, None, times_one <= 1.2))
        streams, theirs = (results.median(n, "32 streams MiB") for n in (name, f"awslambdaric, {kind}"))
        if streams is not None and theirs is not None:
            ratio = streams / theirs
            text = f"memory: 32 streams against awslambdaric, {kind}"
            found.append(Outcome(text, "≤ 0.1", ratio, None, ratio <= 0.1))
    return found


def number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def with_spread(value: float, spread: float | None) -> str:
    """A figure with its spread, where there is one: as a share, or as it is where the figure is next to nothing."""
    if spread is None:
        return number(value)
    return f"{number(value)} ±{spread:.0%}" if spread <= 1 else f"{number(value)} ±{number(spread * value)}"


def machine(others: Sequence[str] = ()) -> str:
    """What it ran on, in one paragraph; ``others`` are the versions of what is no Python package."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    cores = len([1 for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    packages = []
    for name in ("fastapi", "starlette", "mangum", "awslambdaric", "uvicorn", "uvloop", "hayate"):
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    try:
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        node = "none"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores ({cpu}), Linux {platform.release()}, "
        f"Python {platform.python_version()}, Node.js {node}, {', '.join([*packages, *others])}"
    )
