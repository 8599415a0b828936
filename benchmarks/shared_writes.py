"""How late the later messages of a burst are with `share_writes`: `python -m benchmarks.shared_writes`.

Each message carries the time at which it was sent. After each burst the app awaits a pause of 20 ms, or computes for
20 ms without a turn of the event loop: then the messages after the first four wait for the end of it.
"""

from __future__ import annotations

import argparse
import statistics

from asgi_stream.runtime.shared_writes import FIRST
from benchmarks.compare.runtimes import named
from benchmarks.compare.started import started
from benchmarks.compare.workloads import event

KINDS = ("await", "compute")
STAMP = 32  # bytes of a message


def late(setting: str, kind: str, bursts: int, messages: int, *, all_cores: bool = False) -> list[list[float]]:
    """For each burst, how long each message took, in milliseconds."""
    variables = {"_HANDLER": "benchmarks.shared_writes_app.handler", "ASGI_STREAM_SHARE_WRITES": setting}
    with started(named("asgi-stream, raw")._replace(variables=variables), share_cores=all_cores) as one:
        body = one.driver.invoke(event(f"/{kind}/{bursts}/{messages}"), seconds=600).body()
    assert all(len(piece) == STAMP for piece, _ in body), "a message is not a chunk of its own"
    times = [(when - int(piece)) / 1e6 for piece, when in body]
    assert len(times) == bursts * messages
    return [times[start : start + messages] for start in range(0, len(times), messages)]


def main() -> None:
    """Prints some lines for each kind of work after the burst."""
    parser = argparse.ArgumentParser(prog="benchmarks.shared_writes")
    parser.add_argument("--bursts", type=int, default=500)
    parser.add_argument("--messages", type=int, default=50)
    parser.add_argument(
        "--all-cores", action="store_true", help="let the function use every core; by default it has one less"
    )
    options = parser.parse_args()
    print("| share_writes | after the burst | messages | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|---|")
    for setting in ("off", "on"):
        for kind in KINDS:
            found = late(setting, kind, options.bursts, options.messages, all_cores=options.all_cores)
            for name, times in (
                (f"the first {FIRST}", [time for burst in found for time in burst[:FIRST]]),
                ("later ones", [time for burst in found for time in burst[FIRST:]]),
                ("the last one", [burst[-1] for burst in found]),
            ):
                p99 = statistics.quantiles(times, n=100)[98]
                print(
                    f"| {setting} | {kind} | {name} | {statistics.median(times):.3f} | {p99:.3f} | {max(times):.3f} |"
                )


if __name__ == "__main__":
    main()
