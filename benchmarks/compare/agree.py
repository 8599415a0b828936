"""Whether several runs say the same: `./scripts/bench agree FILE FILE …`, with the files of `--json`.

A run states each figure and each ratio with a spread. Two runs agree about one where the two ranges meet. The ratios
to the targets are printed beside each other, for they are what the comparison is for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compare.report import COLUMNS, Outcome, Results, number, outcomes, with_spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    said = {}
    for name, column in itertools.product(dict.fromkeys(name for run in runs for name in run.values), COLUMNS):
        said[f"{name}: {column}"] = [(run.median(name, column), run.spread(name, column)) for run in runs]
    return _compare(said)


def disagreements_about_ratios(runs: Sequence[Results]) -> tuple[int, list[str]]:
    """The same for the ratios to the targets."""
    return _compare({text: [(row and row.ratio, row and row.spread) for row in rows] for text, rows in _rows(runs)})


def _rows(runs: Sequence[Results]) -> list[tuple[str, list[Outcome | None]]]:
    """Each target that any run has measured, with how it stands in each."""
    by_text = [{row.text: row for row in outcomes(run)} for run in runs]
    texts = dict.fromkeys(text for rows in by_text for text in rows)
    return [(text, [rows.get(text) for rows in by_text]) for text in texts]


def _compare(said: Mapping[str, Sequence[tuple[float | None, float | None]]]) -> tuple[int, list[str]]:
    count, lines = 0, []
    for what, by_run in said.items():
        figures = [(value, spread * value) for value, spread in by_run if value is not None and spread is not None]
        if len(figures) == len(by_run):
            count += 1
            if not all(meet(*pair) for pair in itertools.combinations(figures, 2)):
                lines.append(f"{what}: {', '.join(f'{number(value)} ±{number(spread)}' for value, spread in figures)}")
    return count, lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what the runs agree about; returns 1 for fewer than two runs."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare.agree", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    runs = [load(path) for path in parser.parse_args(arguments).files]
    if len(runs) < 2:
        print("One run agrees with itself: give two or more files.", file=sys.stderr)
        return 1
    for what, (count, lines) in (
        ("ratios", disagreements_about_ratios(runs)),
        ("figures", disagreements(runs)),
    ):
        print(f"{len(runs)} runs agree about {count - len(lines)} of {count} {what}, each within its stated spread.")
        print("".join(f"- {line}\n" for line in lines))
    print(f"| target | bound | {' | '.join(f'run {number}' for number in range(1, len(runs) + 1))} |")
    print(f"|---|---|{'---|' * len(runs)}")
    for text, rows in _rows(runs):
        cells = [f"{with_spread(row.ratio, row.spread)}{'' if row.met else ' missed'}" if row else "" for row in rows]
        print(f"| {text} | {next(row.bound for row in rows if row)} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
