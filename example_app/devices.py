"""Simulated devices that post readings: `python -m example_app.devices --url http://127.0.0.1:9000`."""

import argparse
import hashlib
import itertools
import json
import math
import random
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

READINGS = 5  # in a batch


def main(arguments: Sequence[str] | None = None) -> int:
    """Posts until Ctrl-C, or so many batches. Returns the exit code: 1 if the last batch was not taken."""
    parser = argparse.ArgumentParser(prog="python -m example_app.devices", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:9000", help="where the example runs (default: %(default)s)")
    parser.add_argument("--devices", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--batches", type=int, metavar="N", help="of each device, then end; default: without end")
    options = parser.parse_args(arguments)
    if not options.url.startswith(("http://", "https://")):
        parser.error(f"{options.url} is no URL: write http://127.0.0.1:9000")
    url = options.url.rstrip("/") + "/live/readings"
    taken = True
    try:
        for number in itertools.count() if options.batches is None else range(options.batches):
            if number:
                time.sleep(options.interval)
            for device in range(options.devices):
                taken = _post(url, f"sensor-{device + 1}", _readings(device, options.interval))
    except KeyboardInterrupt:
        pass
    return 0 if taken else 1


def _readings(device: int, interval: float) -> list[dict[str, float]]:
    """The last interval's temperatures: a slow wave, another for each device, and some noise."""
    now = time.time()
    moments = [now - interval * (1 - (number + 1) / READINGS) for number in range(READINGS)]
    return [
        {
            "at": round(at, 3),
            "value": round(20 + 2 * device + 3 * math.sin(at / (9 + 4 * device)) + random.gauss(0, 0.15), 3),
        }
        for at in moments
    ]


def _post(url: str, device: str, readings: list[dict[str, float]]) -> bool:
    body = json.dumps({"device": device, "readings": readings}).encode()
    request = urllib.request.Request(  # noqa: S310 - http or https, see main
        url,
        body,
        # The hash is for CloudFront in front of a Function URL: it signs a POST only with it.
        {"content-type": "application/json", "x-amz-content-sha256": hashlib.sha256(body).hexdigest()},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            print(f"{device}: {len(readings)} readings, {response.status}")
    except urllib.error.HTTPError as error:
        with error:
            print(f"{device}: {url} said {error.code} {error.read(200)!r}", file=sys.stderr)
        return False
    except OSError as error:
        print(f"{device}: cannot reach {url}: {getattr(error, 'reason', error)}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
