"""Live device data over the local Lambda."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.example.sse import listening
from tests.support.dev import CHECKOUT, environment

if TYPE_CHECKING:
    from tests.support.dev import Dev


def batch(device: str, *values: float) -> dict[str, Any]:
    now = time.time()
    return {"device": device, "readings": [{"at": now, "value": value} for value in values]}


def post(site: Dev, content: Any) -> int:
    response = site.client.post("/live/readings", json=content)
    assert response.status_code == 202, response.text
    assert response.json()["accepted"] == len(content["readings"])
    number: int = response.json()["id"]
    return number


def test_viewers_see_each_batch_before_the_next_is_posted_and_the_last_minutes_when_they_come(any_site: Dev) -> None:
    before = post(any_site, batch("before", 1))
    with listening(any_site.client, "/live/events") as one, listening(any_site.client, "/live/events") as two:
        for viewer in (one, two):
            while next(viewer).id != before:
                pass  # of other tests
        for values in ((20.5, 20.75), (-3.0,)):
            content = batch("sensor", *values)
            number = post(any_site, content)
            readings = [[reading["at"], reading["value"]] for reading in content["readings"]]
            assert next(one) == next(two) == (number, {"device": "sensor", "readings": readings})


@pytest.mark.parametrize(
    "content",
    [
        {"device": "sensor", "readings": []},
        {"device": "sensor", "readings": [{"at": 1, "value": 1}] * 101},
        {"device": "a sensor", "readings": [{"at": 1, "value": 1}]},
        {"device": "sensor", "readings": [{"at": -1, "value": 1}]},
        {"device": "sensor", "readings": [{"at": 1_800_000_000_000, "value": 1}]},  # milliseconds
        {"device": "sensor", "readings": [{"at": 1, "value": "warm"}]},
        {"device": "sensor", "readings": [{"at": 1, "value": "nan"}]},
        {"device": "sensor", "readings": [{"at": "inf", "value": 1}]},
        {"device": "sensor", "readings": [{"value": 1}]},
        [1, 2],
    ],
)
def test_readings_that_are_none(site: Dev, content: Any) -> None:
    assert site.client.post("/live/readings", json=content).status_code == 422


def test_numbers_that_json_does_not_have(site: Dev) -> None:
    for value in ("NaN", "1e999"):
        content = f'{{"device": "sensor", "readings": [{{"at": 1, "value": {value}}}]}}'
        response = site.client.post("/live/readings", content=content, headers={"content-type": "application/json"})
        assert (response.status_code, value in response.text) == (422, False)


def simulate(url: str) -> subprocess.CompletedProcess[str]:
    options = ["--url", url, "--devices", "2", "--batches", "2", "--interval", "0.01"]
    return subprocess.run(
        [sys.executable, "-m", "example_app.devices", *options],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_the_simulator_posts_what_viewers_see(site: Dev) -> None:
    last = post(site, batch("sensor", 1))
    process = simulate(str(site.client.base_url))
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines() == [f"sensor-{number}: 5 readings, 202" for number in (1, 2, 1, 2)]
    with listening(site.client, "/live/events", last_event_id=str(last)) as viewer:
        found = [next(viewer).data for _ in range(4)]
    assert [data["device"] for data in found] == ["sensor-1", "sensor-2", "sensor-1", "sensor-2"]
    assert all(len(data["readings"]) == 5 for data in found)


def test_a_simulator_that_reaches_nobody_says_so() -> None:
    process = simulate("http://127.0.0.1:1")
    assert process.returncode == 1
    assert "sensor-1: cannot reach http://127.0.0.1:1/live/readings: " in process.stderr
    assert "Traceback" not in process.stderr


def test_a_simulator_that_is_refused_says_so(site: Dev) -> None:
    process = simulate(f"{site.client.base_url}nowhere")
    assert process.returncode == 1
    assert "nowhere/live/readings said 404" in process.stderr
