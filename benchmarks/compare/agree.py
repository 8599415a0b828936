"""Whether several runs say the same: `./scripts/bench agree FILE FILE …`, with the files of `--json`.

A run states each figure with a spread. Two runs agree about a figure where the two ranges meet. The ratios to the
targets are printed beside each other, for they are what the comparison is for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compare.report import Results, number, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence


def load(path: Path) -> Results:
    """The figures that `--json` has written."""
    values: dict[str, dict[str, list[float]]] = json.loads(path.read_text())
    results = Results(list(values))
    results.values = values
    return results


def meet(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two figures with their spreads, both in the figure's own unit, may be the same."""
    return abs(first[0] - second[0]) <= first[1] + second[1]


def disagreements(runs: Sequence[Results]) -> tuple[int, list[str]]:
    """The number of figures that all runs have, and a line for each that they do not agree about."""
    count, lines = 0, []
    for runtime, columns in runs[0].values.items():
        for column in columns:
            figures = []
            for run in runs:
                median, spread = run.median(runtime, column), run.spread(runtime, column)
                if median is not None and spread is not None:
                    figures.append((median, spread * median))
            if len(figures) == len(runs):
                count += 1
                if not all(meet(*pair) for pair in itertools.combinations(figures, 2)):
                    said = ", ".join(f"{number(median)} ±{number(spread)}" for median, spread in figures)
                    lines.append(f"{runtime}: {column}: {said}")
    return count, lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what the runs agree about; returns 1 for fewer than two runs."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare.agree", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    runs = [load(path) for path in parser.parse_args(arguments).files]
    if len(runs) < 2:
        print("One run agrees with itself: give two or more files.", file=sys.stderr)
        return 1
    count, lines = disagreements(runs)
    print(f"{len(runs)} runs agree about {count - len(lines)} of {count} figures, each within its stated spread.")
    print("".join(f"- {line}\n" for line in lines))
    print(f"| target | bound |{' | '.join(f' run {number}' for number in range(1, len(runs) + 1))} |")
    print(f"|---|---|{'---|' * len(runs)}")
    for rows in zip(*(ratios(run) for run in runs), strict=True):
        cells = [f"{ratio:.2f}{'' if met else ' missed'}" for _, _, ratio, met in rows]
        print(f"| {rows[0][0]} | {rows[0][1]} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
