"""Every ending of every kind of handler, over every platform that can run the real ``bootstrap`` on this machine.

The same function runs on the local Lambda, which shows all of it, and on both modes of AWS's emulator, which show what
their properties say. After each, the next invocation works in the same process.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.apps.handlers import CASES, KINDS, MEETING
from tests.conformance.checks import check_error, split_stream
from tests.support.emulator import ManagedInstancesPlatform, why_no_managed_instances
from tests.support.platforms import OwnPlatform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.apps.handlers import Ending
    from tests.support.emulator import EmulatorPlatform
    from tests.support.platforms import Outcome, Platform

pytestmark = pytest.mark.anyio

HTTP = "application/vnd.awslambda.http-integration-response"
NAMES = [(kind, name) for kind in KINDS for name in CASES[kind]]


@pytest.fixture(scope="module")
async def platform(make_platform: type[OwnPlatform | EmulatorPlatform]) -> AsyncIterator[Platform]:
    """A started platform, one for all cases: what one leaves behind, the next has to live with, as on Lambda."""
    async with make_platform("tests.apps.handlers.every") as started:
        yield started


def event(kind: str, name: str) -> bytes:
    return json.dumps({"kind": kind, "case": name}).encode()


async def facts(platform: Platform) -> bytes:
    outcome = await platform.invoke(event("async", "facts"))
    assert outcome.error is None
    assert outcome.body.isdigit()
    return outcome.body


@pytest.mark.parametrize(("kind", "name"), NAMES)
async def test_an_ending(platform: Platform, kind: str, name: str) -> None:
    ending = CASES[kind][name].ending
    before = await facts(platform)
    logged = len(platform.output.text)
    outcome = await platform.invoke(event(kind, name))
    if ending.by == "error":
        assert ending.error is not None
        check_error(outcome, *ending.error)
        if platform.shows_error_type:
            assert outcome.error_type == f"Function.{ending.error[0]}"
        if isinstance(platform, OwnPlatform):
            assert outcome.reported_by == "error"
    elif "plain" in kind:
        assert outcome.error is None
        assert json.loads(outcome.body) == ending.answer
        if isinstance(platform, OwnPlatform):
            assert (outcome.mode, outcome.content_type) == ("buffered", "application/json")
    else:
        check_stream(platform, outcome, ending)
    assert await facts(platform) == before
    for text in ending.logged or ending.error or ():
        await platform.output.wait_for(text, since=logged)


def check_stream(platform: Platform, outcome: Outcome, ending: Ending) -> None:
    if ending.error is None or platform.shows_broken_body:
        prelude, body = split_stream(outcome.body) if ending.prelude is not None else (None, outcome.body)
        assert (prelude, body) == (ending.prelude, ending.body)
    if ending.error is None or not platform.shows_trailers:
        assert (outcome.error, outcome.error_type) == (None, None)
    else:
        check_error(outcome, *ending.error)
        assert outcome.error_type == f"Function.{ending.error[0]}"
    if isinstance(platform, OwnPlatform) or (isinstance(platform, ManagedInstancesPlatform) and ending.error is None):
        content_type = HTTP if ending.prelude is not None else ending.content_type
        assert (outcome.mode, outcome.content_type) == ("streaming", content_type)


@pytest.mark.parametrize(
    ("name", "kind", "sample"),
    [
        ("async_writer", "async", "writes"),
        ("blocking_writer", "blocking", "writes_blocking"),
        ("generator", "generator", "yields"),
        ("blocking_generator", "blocking_generator", "yields_blocking"),
        ("plain", "plain", "returns"),
        ("async_plain", "async_plain", "returns"),
    ],
)
async def test_each_kind_under_its_own_name(name: str, kind: str, sample: str) -> None:
    """Found out by the loader; bare generators and plain functions need no decorator."""
    ending = CASES[kind][sample].ending
    async with OwnPlatform(f"tests.apps.handlers.{name}") as platform:
        for _ in range(2):
            outcome = await platform.invoke(event(kind, sample))
            if ending.answer is not None:
                assert json.loads(outcome.body) == ending.answer
            else:
                check_stream(platform, outcome, ending)


class Slots(ManagedInstancesPlatform):
    slots = MEETING


async def test_handlers_of_every_kind_meet_in_one_process_on_managed_instances() -> None:
    """Each ends only when all of a kind are under way; the emulator sends one to each slot."""
    if (reason := why_no_managed_instances()) is not None:
        pytest.skip(reason)
    async with Slots("tests.apps.handlers.every") as platform:
        met: set[bytes] = set()
        for kind in KINDS:
            outcomes = await asyncio.gather(*(platform._exchange(event(kind, "meet")) for _ in range(MEETING)))
            assert [outcome.error for outcome in outcomes] == [None] * MEETING
            met.update(outcome.body.strip(b'"') for outcome in outcomes)
        (one,) = met
        assert one.startswith(b"first ")
