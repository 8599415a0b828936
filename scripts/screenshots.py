"""Takes a picture of each page of the example while it streams. Run by `scripts/screenshots`, which see."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

CHECKOUT = Path(__file__).parent.parent
LARGEST = 200_000  # bytes of a picture


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/screenshots")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "docs" / "images")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--phone", action="store_true")
    options = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("screenshots: no Chromium on the PATH. On Debian: apt install chromium; or set CHROMIUM to its path.")
    options.output.mkdir(parents=True, exist_ok=True)
    with example() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 390, "height": 780} if options.phone else {"width": 900, "height": 640},
            color_scheme="dark" if options.dark else "light",
            base_url=url,
        )
        # What goes wrong in a page is an error here.
        page.on("pageerror", lambda error: sys.exit(f"screenshots: {page.url}: {error}"))
        for name, take in {"start": start, "chat": chat, "files": files, "rendering": rendering, "live": live}.items():
            take(page)
            picture = options.output / f"{name}.png"
            page.screenshot(path=picture)
            print(f"{picture}: {picture.stat().st_size:,} bytes")
            if picture.stat().st_size > LARGEST:
                sys.exit(f"screenshots: {picture} is larger than {LARGEST:,} bytes")
        browser.close()


@contextlib.contextmanager
def example() -> Iterator[str]:
    """Runs the example in a local Lambda with an empty store; gives its URL."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("EXAMPLE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "asgi_stream", "dev", "example_app.main:handler", "--port", "0"],
            cwd=CHECKOUT,
            env={**environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stdout is not None
                found = re.search(r"http://[^ ]+", process.stdout.readline())
                if found is None:
                    sys.exit("screenshots: the example does not start (see above)")
                yield found[0]
            finally:
                process.terminate()


def post(page: Page, path: str, value: object) -> None:
    body = json.dumps(value).encode()
    url = page.evaluate("location.origin") + path
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})):
        pass


def start(page: Page) -> None:
    page.goto("/?delay=0.3")
    page.wait_for_function("document.getAnimations().length === 0")


def chat(page: Page) -> None:
    page.goto("/chat")
    page.fill("#name", "window-seat")
    messages = (
        ("guest-7", "Is anybody in?"),
        ("guest-12", "Since this morning. My stream has ended a few times, and I missed nothing."),
    )
    for name, text in messages:
        post(page, "/chat/lobby/messages", {"name": name, "text": text})
    page.fill("#say", "@bot what is a stream?")
    page.press("#say", "Enter")
    page.wait_for_function("document.querySelector('.bot.writing span')?.textContent.length > 110")


def files(page: Page) -> None:
    page.goto("/files")
    page.click("button")
    page.wait_for_selector("button:enabled")


def rendering(page: Page) -> None:
    page.goto("/rendering", wait_until="commit")
    page.wait_for_selector("[slot=primes]")


def live(page: Page) -> None:
    now = time.time()
    page.goto("/live")
    for device, (base, period) in {"kitchen": (21, 17), "cellar": (15, 29), "roof": (18, 11)}.items():
        for first in range(0, 120, 20):
            moments = [now - 120 + first + step / 2 for step in range(40)]
            readings = [{"at": at, "value": base + 2 * math.sin(at / period) + 0.3 * math.sin(at)} for at in moments]
            post(page, "/live/readings", {"device": device, "readings": readings})
    page.wait_for_function("devices.size === 3 && [...devices.values()].every(({ points }) => points.length > 200)")
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


if __name__ == "__main__":
    main()
