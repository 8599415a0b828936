"""Real-time chat: rooms, messages to all who listen, and a bot that answers token by token.

A message that is posted goes to the store, and from there to every listener's stream, each in an execution environment
of its own. The bot's answer takes the same way, one item for each token. It is a background task: who asked has the
reply to the post at once, and the environment takes its next invocation when the task is done.
"""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from example_app import bot
from example_app.events import LastEventId, event_stream
from example_app.pages import page
from example_app.store import Store, StoreDependency

HISTORY_SECONDS = 3600

router = APIRouter()
Room = Annotated[str, Path(pattern="^[a-z0-9-]{1,40}$")]


class Message(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=40)]
    text: Annotated[str, Field(min_length=1, max_length=2000)]


@router.get("/chat")
async def chat_page() -> StreamingResponse:
    return page("chat.html")


@router.get("/chat/{room}/events")
async def listen(room: Room, after: LastEventId, store: StoreDependency) -> StreamingResponse:
    return event_stream(store, f"chat/{room}", after, HISTORY_SECONDS)


@router.post("/chat/{room}/messages", status_code=201)
async def post(room: Room, message: Message, store: StoreDependency, background: BackgroundTasks) -> dict[str, int]:
    channel = f"chat/{room}"
    number = await store.append(channel, message.model_dump())
    if "@bot" in message.text.lower():
        background.add_task(_answer, store, channel, number, message.text)
    return {"id": number}


async def _answer(store: Store, channel: str, number: int, prompt: str) -> None:
    ends = {"name": "bot", "answers": number, "end": "done"}
    try:
        async for token in bot.tokens(prompt):
            await store.append(channel, {"name": "bot", "answers": number, "token": token})
    except BaseException:
        ends["end"] = "failed"  # an error, or the deadline
        raise
    finally:
        await store.append(channel, ends)
