"""The comparison's own arithmetic, and that it runs; what it measures is never asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks.compare.__main__ as compare
from benchmarks.compare.agree import disagreements, disagreements_about_ratios, load, main
from benchmarks.compare.report import Outcome, Results, outcomes, table, with_spread
from benchmarks.compare.runtimes import named
from benchmarks.compare.workloads import Sample

CHECKOUT = Path(__file__).parent.parent
OURS, FLOOR = "asgi-stream, raw", "C floor"


def results(**values: list[float]) -> Results:
    """Bulk MB/s of ours and of the floor."""
    found = Results([OURS, FLOOR])
    for name, figures in zip((OURS, FLOOR), values.values(), strict=True):
        for figure in figures:
            found.add(name, Sample("bulk MB/s", figure))
    return found


def test_medians_spreads_and_targets() -> None:
    run = results(ours=[80, 90, 100, 110, 120], floor=[200.0] * 5)
    assert run.median(OURS, "bulk MB/s") == 100
    assert run.spread(OURS, "bulk MB/s") == pytest.approx(0.15)
    spread = pytest.approx(0.15)
    assert outcomes(run) == [Outcome("bulk: MB/s against the C floor", "≥ 0.85", 0.5, spread, False)]  # type: ignore[arg-type]
    assert "| asgi-stream, raw | 100 ±15% |" in table(run)
    assert "| bulk: MB/s against the C floor | ≥ 0.85 | 0.50 ±15% | missed |" in table(run)
    assert with_spread(4, 2.5) == "4.00 ±10.0"


def test_runs_agree_where_their_ranges_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        results(ours=[80, 90, 100, 110, 120], floor=[200.0, 201, 202, 203, 204]),
        results(ours=[90, 100, 110, 120, 130], floor=[300.0, 301, 302, 303, 304]),
    ]
    count, lines = disagreements(runs)
    assert count == 2
    assert lines == ["C floor: bulk MB/s: 202 ±1.50, 302 ±1.50"]
    # The second run's machine was faster for both, but more for the floor.
    assert disagreements_about_ratios(runs) == (1, ["bulk: MB/s against the C floor: 0.50 ±0.07, 0.36 ±0.05"])
    files = []
    for number, run in enumerate(runs):
        files.append(str(tmp_path / f"{number}.json"))
        Path(files[-1]).write_text(json.dumps(run.values))
        assert load(Path(files[-1])).values == run.values
    assert main(files) == 0
    said = capsys.readouterr().out
    assert "2 runs agree about 0 of 1 ratios" in said
    assert "2 runs agree about 1 of 2 figures" in said
    assert "| bulk: MB/s against the C floor | ≥ 0.85 | 0.50 ±14% missed | 0.36 ±13% missed |" in said
    assert main(files[:1]) == 1


def test_a_run_that_lacks_something_is_compared_about_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target of one run never stands beside another target of the next."""
    runs = [results(ours=[80, 90, 100, 110], floor=[200.0] * 4) for _ in range(2)]
    runs[0].values[OURS]["hello CPU µs"] = [100.0] * 4
    runs[0].values["Mangum, raw"] = {"hello CPU µs": [200.0] * 4}
    assert disagreements_about_ratios(runs) == (1, [])
    assert disagreements(runs) == (2, [])
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    for file, run in zip(files, runs, strict=True):
        file.write_text(json.dumps(run.values))
    assert main([str(file) for file in reversed(files)]) == 0
    said = capsys.readouterr().out
    assert "| bulk: MB/s against the C floor | ≥ 0.85 | 0.47 ±13% missed | 0.47 ±13% missed |" in said
    assert "| hello: CPU against Mangum, raw | ≤ 0.8 |  | 0.50 ±0% |" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--workloads", "hello,helo"], "no such workload: helo"),
        (["--only", "nobody"], "none of the runtimes: asgi-stream, raw"),
    ],
)
def test_what_there_is_not(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main(arguments)
    assert complaint in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_a_runtime_that_fails_is_named_and_takes_no_figures_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = named("bare imports, raw")
    cores = os.sched_getaffinity(0)
    rounds = iter([good.command()] * 4 + [["/nowhere/to/be/found"]])
    monkeypatch.setattr(compare, "RUNTIMES", (good._replace(command=lambda: next(rounds)),))
    file = tmp_path / "figures.json"
    assert compare.main(["--workloads", "hello", "--json", str(file)]) == 1
    assert os.sched_getaffinity(0) == cores
    said = capsys.readouterr()
    assert "a failure of bare imports, raw: it cannot be started" in said.err
    assert "round 1 of 15" in said.err
    assert "| bare imports, raw |" in said.out
    assert len(json.loads(file.read_text())["bare imports, raw"]["cold poll ms"]) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_a_round_of_the_comparison(tmp_path: Path) -> None:
    """The real function as a process; every body is checked by the program itself."""
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    command = [sys.executable, "-m", "benchmarks.compare", "--rounds", "1", "--only", OURS, "--only", "bare"]
    options = ["--workloads", "hello,burst", "--json", str(figures), "--svg", str(picture)]
    run = subprocess.run([*command, *options], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    measured = json.loads(figures.read_text())
    assert {"cold poll ms", "cold body ms", "hello ms", "hello CPU µs", "burst ms"} <= set(measured[OURS])
    assert set(measured) == {OURS, f"{OURS}, sharing", "bare imports, raw", "bare imports, FastAPI"}
    assert all(figure > 0 for columns in measured.values() for values in columns.values() for figure in values)
    assert "cold: poll against bare imports, raw" in run.stdout
    assert picture.read_text().startswith("<svg")
