"""Pydantic AI: an agent's answer as a stream of text and as the events of a chat, without any model."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.ui.vercel_ai import VercelAIAdapter

from tests.differential.harness import Client, gate

REQUIRES = ["pydantic-ai-slim", "fastapi"]
VOLATILE = [r'"(messageId|id|timestamp)":"[^"]+"']


async def words(messages, info):
    yield "one "
    await gate()
    yield "two"


async def broken_words(messages, info):
    yield "one "
    await gate()
    raise ValueError("boom")


broken = Agent(FunctionModel(stream_function=broken_words))
agent = Agent(FunctionModel(stream_function=words))
tester = Agent(TestModel())
app = FastAPI()


@tester.tool_plain
def price(name: str) -> float:
    return 1.5


@app.get("/text")
async def text():
    async def pieces():
        async with agent.run_stream("hello") as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                yield piece

    return StreamingResponse(pieces(), media_type="text/plain")


@app.get("/run")
async def run():
    return {"output": (await tester.run("hello")).output}


@app.post("/chat")
async def chat(request: Request):
    return await VercelAIAdapter.dispatch_request(request, agent=agent)


@app.post("/broken")
async def broken_chat(request: Request):
    return await VercelAIAdapter.dispatch_request(request, agent=broken)


MESSAGE = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}


async def requests(client: Client) -> None:
    await client.get("/run")
    await client.get("/text", sees=["one"])
    await client.post("/chat", json={"id": "1", "trigger": "submit-message", "messages": [MESSAGE]}, sees=["one"])
    await client.post("/chat", json={"id": "1"}, label="an invalid message")
    asked = {"id": "1", "trigger": "submit-message", "messages": [MESSAGE]}
    await client.post("/broken", json=asked, sees=["one"], label="a chat that fails")
