"""FastMCP as stateless streamable HTTP, with its own client, progress notifications and log messages."""

from __future__ import annotations

import httpx2
from fastmcp import Client as FastMCPClient
from fastmcp import Context, FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError

from tests.differential.harness import HOST, Client, gate

REQUIRES = ["fastmcp"]

server = FastMCP("differential")


@server.tool
async def add(one: int, other: int) -> int:
    """Adds two numbers."""
    return one + other


@server.tool
async def slow(context: Context) -> str:
    """Reports its progress."""
    for step in range(3):
        await context.report_progress(step, 3, f"step {step}")
        await gate()
    return "done"


@server.tool
async def broken() -> str:
    """Fails."""
    raise ToolError("boom")


@server.custom_route("/health", methods=["GET"])
async def health(request):
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("ok")


app = server.http_app(stateless_http=True, host_origin_protection=False)


async def requests(client: Client) -> None:
    await client.get("/health")
    await client.get("/mcp")
    steps = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append([progress, total, message])
        client.gate.let_one_pass()

    transport = StreamableHttpTransport(
        f"http://{HOST}/mcp", httpx_client_factory=lambda **options: client.http(httpx2, **options)
    )
    async with FastMCPClient(transport) as user:
        client.note("tools", [tool.name for tool in await user.list_tools()])
        client.note("sum", (await user.call_tool("add", {"one": 1, "other": 2})).data)
        failed = await user.call_tool("broken", {}, raise_on_error=False)
        client.note("failure", [failed.is_error, failed.content[0].text])
        client.gate.reset()
        client.note("result", (await user.call_tool("slow", {}, progress_handler=on_progress)).data)
    client.note("progress", steps)
