"""Gradio 6 in a FastAPI app: its page, its scripts and styles, an upload, and a call whose results stream."""

from __future__ import annotations

import json
import re

import gradio as gr
from fastapi import FastAPI

from tests.differential.harness import Client, gate_sync

REQUIRES = ["gradio", "fastapi"]
VOLATILE = [
    r'"(app_id|event_id|session_hash|api_prefix)": ?"?[\w\-]+"?',
    r'"app_id":\d+',
    r"\b[0-9a-f]{64}\b",
    r"\b[0-9a-f]{32}\b",
    r"/tmp/[^\"]*",
]


def greet(name: str):
    yield f"one {name}"
    gate_sync()
    yield f"two {name}"


with gr.Blocks(title="Differential") as blocks:
    name = gr.Textbox(label="Name")
    greeting = gr.Textbox(label="Greeting")
    name.submit(greet, name, greeting, api_name="greet")

app = gr.mount_gradio_app(FastAPI(), blocks, path="/gradio")


async def requests(client: Client) -> None:
    page = await client.get("/gradio/")
    for asset in sorted(set(re.findall(r'(?:src|href)="\.?/?(assets/[^"]+\.(?:js|css))"', page.text)))[:6]:
        await client.get(f"/gradio/{asset}", headers={"accept-encoding": "gzip"})
        await client.get(f"/gradio/{asset}", headers={"range": "bytes=0-99"}, label=f"a range of {asset}")
    await client.get("/gradio/config")
    await client.get("/gradio/theme.css")
    await client.head("/gradio/theme.css")
    await client.get("/gradio/gradio_api/info")
    await client.post("/gradio/gradio_api/upload", files={"files": ("hello.txt", b"hello\n", "text/plain")})
    call = await client.post("/gradio/gradio_api/call/greet", json={"data": ["ü"]})
    await client.get(
        f"/gradio/gradio_api/call/greet/{json.loads(call.text)['event_id']}", sees=["one"], label="results"
    )
    await client.get("/gradio/nothing-here")
