"""The MCP SDK's server as stateless streamable HTTP, with the SDK's own client and progress notifications."""

from __future__ import annotations

import httpx2
import mcp
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from tests.differential.harness import HOST, Client, gate

REQUIRES = ["mcp"]
TARGETS = ["local"]

server = MCPServer("differential")


@server.tool()
async def add(one: int, other: int) -> int:
    """Adds two numbers."""
    return one + other


@server.tool()
async def slow(context: Context) -> str:
    """Reports its progress."""
    for step in range(3):
        await context.report_progress(step, 3, f"step {step}")
        await gate()
    return "done"


@server.tool()
async def broken() -> str:
    """Fails."""
    raise ValueError("boom")


@server.resource("text://greeting")
def greeting() -> str:
    return "hello"


app = server.streamable_http_app(
    stateless_http=True, transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
)


async def requests(client: Client) -> None:
    await client.request("PUT", "/mcp")
    await client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "nothing"}, label="not acceptable")
    for mode in ("legacy", "auto"):
        await session(client, mode)


async def session(client: Client, mode: str) -> None:
    steps = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append([progress, total, message])
        client.gate.let_one_pass()

    http = client.http(httpx2)
    client.gate.reset()
    async with http, mcp.Client(streamable_http_client(f"http://{HOST}/mcp", http_client=http), mode=mode) as user:
        client.note(f"{mode}: tools", [tool.name for tool in (await user.list_tools()).tools])
        client.note(f"{mode}: sum", (await user.call_tool("add", {"one": 1, "other": 2})).model_dump(mode="json"))
        client.note(f"{mode}: failure", (await user.call_tool("broken", {})).model_dump(mode="json"))
        client.note(f"{mode}: resource", (await user.read_resource("text://greeting")).model_dump(mode="json"))
        result = await user.call_tool("slow", {}, progress_callback=on_progress)
        client.note(f"{mode}: result", result.model_dump(mode="json"))
    client.note(f"{mode}: progress", steps)
