"""Managed Instances with several slots, on AWS's own emulator: all at once, in one process."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.apps.conformance import MEETING
from tests.support.emulator import ManagedInstancesPlatform, why_no_managed_instances
from tests.support.events import function_url_event

pytestmark = pytest.mark.anyio


class Slots(ManagedInstancesPlatform):
    slots = MEETING


async def test_as_many_invocations_as_there_are_slots_meet_in_one_process() -> None:
    """Each ends only when all of them are under way; the emulator sends one to each slot."""
    if (reason := why_no_managed_instances()) is not None:
        pytest.skip(reason)
    event = json.dumps(function_url_event(path="/meet")).encode()
    async with Slots("tests.apps.conformance.handler") as platform:
        for _ in range(2):
            outcomes = await asyncio.gather(*(platform._exchange(event) for _ in range(MEETING)))
            assert [outcome.error for outcome in outcomes] == [None] * MEETING
            facts = [json.loads(outcome.body.partition(bytes(8))[2]) for outcome in outcomes]
            assert len({fact["pid"] for fact in facts}) == 1
            assert len({fact["request_id"] for fact in facts}) == MEETING
