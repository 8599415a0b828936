"""The picture: one small chart for each column, a bar for each runtime."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.compare.report import number

if TYPE_CHECKING:
    from benchmarks.compare.report import Results

CHARTS = (
    ("cold body ms", "Cold start to the first body byte, ms"),
    ("hello ms", "A small answer, ms"),
    ("burst ms", "2,000 messages of 32 bytes, ms"),
    ("spaced p99 µs", "A lone message, 99th percentile, µs"),
    ("bulk CPU ms", "CPU for 32 MiB, ms"),
    ("memory KiB", "Growth over 200 MiB, KiB"),
)
FLOORS = dict.fromkeys(("C floor", "plain write"), "floor")
WIDTH, LABEL, BAR, LINE = 460, 170, 190, 18


def draw(results: Results) -> str:
    """Returns the SVG. Shorter bars are better, all of them."""
    parts, top = [], 10
    for column, title in CHARTS:
        rows = [(name, value) for name in results.values if (value := results.median(name, column)) is not None]
        if not rows:
            continue
        most = max(value for _, value in rows) or 1
        parts.append(f'<text x="10" y="{top + 14}" class="title">{escape(title)}</text>')
        top += 24
        for name, value in rows:
            kind = "ours" if name.startswith("asgi-stream") else FLOORS.get(name, "peer")
            length = max(1.0, BAR * value / most)
            parts.append(f'<text x="{LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{LABEL}" y="{top + 2}" width="{length:.1f}" height="{LINE - 5}" class="{kind}"/>')
            parts.append(f'<text x="{LABEL + length + 6:.1f}" y="{top + 12}">{number(value)}</text>')
            top += LINE
        top += 14
    style = (
        "text{font:11px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:13px}"
        ".ours{fill:#d45b07}.peer{fill:#9aa5b1}.floor{fill:#cfd6dd}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.peer{fill:#65707c}.floor{fill:#444c55}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}">'
        f"<style>{style}</style>{''.join(parts)}</svg>\n"
    )
