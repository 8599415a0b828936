"""The OpenAI client against a server of event streams: chunks, an error, a stream that breaks off."""

from __future__ import annotations

import json

import httpx2
import openai
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from tests.differential.harness import HOST, Client, gate

REQUIRES = ["openai", "fastapi"]
TARGETS = ["local"]

app = FastAPI()


def chunk(text: str | None, reason: str | None = None) -> str:
    delta = {"content": text} if text else {}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "mock", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


@app.post("/v1/chat/completions")
async def completions(request: Request):
    asked = await request.json()
    if asked["model"] == "refused":
        return JSONResponse({"error": {"message": "no such model", "type": "invalid", "code": "model"}}, 404)
    message = {"role": "assistant", "content": "one two"}
    if not asked.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "1", "object": "chat.completion", "created": 1, "model": "mock", "choices": [choice]}

    async def pieces():
        yield chunk("one ")
        await gate()
        if asked["model"] == "broken":
            raise ValueError("boom")
        yield chunk("two")
        await gate()
        yield chunk(None, "stop") + "data: [DONE]\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def requests(client: Client) -> None:
    messages = [{"role": "user", "content": "hello"}]
    http = client.http(httpx2)
    async with openai.AsyncOpenAI(
        api_key="none", base_url=f"http://{HOST}/v1", http_client=http, max_retries=0
    ) as user:
        answer = await user.chat.completions.create(model="mock", messages=messages)
        client.note("answer", answer.choices[0].message.content)
        client.gate.reset()
        words = []
        async for part in await user.chat.completions.create(model="mock", messages=messages, stream=True):
            words.append(part.choices[0].delta.content)
            client.gate.let_one_pass()
        client.note("words", words)
        try:
            await user.chat.completions.create(model="refused", messages=messages)
        except openai.NotFoundError as error:
            client.note("refused", [error.status_code, error.code])
    asked = {"model": "broken", "messages": messages, "stream": True}
    await client.post("/v1/chat/completions", json=asked, sees=["one"], label="a stream that breaks off")
