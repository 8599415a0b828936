"""Live device data: devices post batches of readings, and every viewer's chart draws them as they come."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from example_app.events import LastEventId, event_stream
from example_app.pages import page
from example_app.store import StoreDependency

CHANNEL = "live"
HISTORY_SECONDS = 180

router = APIRouter()


class Reading(BaseModel):
    # Up to the year 9999: who posts milliseconds is told.
    at: Annotated[float, Field(ge=0, lt=253402300800, allow_inf_nan=False, description="seconds since the epoch")]
    value: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


class Batch(BaseModel):
    device: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,40}$")]
    readings: Annotated[list[Reading], Field(min_length=1, max_length=100)]


@router.get("/live")
async def live_page() -> StreamingResponse:
    return page("live.html")


@router.get("/live/events")
async def view(after: LastEventId, store: StoreDependency) -> StreamingResponse:
    return event_stream(store, CHANNEL, after, HISTORY_SECONDS)


@router.post("/live/readings", status_code=202)
async def post(batch: Batch, store: StoreDependency) -> dict[str, int]:
    readings = [(reading.at, reading.value) for reading in batch.readings]
    number = await store.append(CHANNEL, {"device": batch.device, "readings": readings})
    return {"id": number, "accepted": len(readings)}
