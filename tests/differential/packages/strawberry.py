"""Strawberry: queries, mutations and uploads, and subscriptions as server-sent events and multipart responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import strawberry
from strawberry.asgi import GraphQL
from strawberry.file_uploads import Upload
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, MULTIPART_SUBSCRIPTION_PROTOCOL

from tests.differential.harness import Client, gate

REQUIRES = ["strawberry-graphql[asgi]"]
TARGETS = ["local"]


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"hello {name}"

    @strawberry.field
    def broken(self) -> str | None:
        raise ValueError("boom")


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def size(self, file: Upload) -> int:
        return len(await file.read())


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def words(self) -> AsyncGenerator[str, None]:
        yield "one"
        await gate()
        yield "two"

    @strawberry.subscription
    async def broken(self) -> AsyncGenerator[str, None]:
        yield "one"
        await gate()
        raise ValueError("boom")

    @strawberry.subscription
    async def forever(self) -> AsyncGenerator[str, None]:
        yield "one"
        await asyncio.Event().wait()


app = GraphQL(
    strawberry.Schema(Query, Mutation, Subscription),
    multipart_uploads_enabled=True,
    subscription_protocols=[GRAPHQL_SSE_PROTOCOL, MULTIPART_SUBSCRIPTION_PROTOCOL],
)

EVENTS = {"accept": "text/event-stream"}
PARTS = {"accept": "multipart/mixed;subscriptionSpec=1.0,application/json"}


async def requests(client: Client) -> None:
    await client.post("/graphql", json={"query": '{ hello(name: "ü") }'}, label="a query")
    await client.get("/graphql?query=%7B%20hello%20%7D", label="a query by GET")
    await client.get("/graphql", headers={"accept": "text/html"}, label="the page for people")
    await client.post("/graphql", json={"query": "{ broken }"}, label="an error")
    await client.post("/graphql", json={"query": "{ nothing }"}, label="an unknown field")
    await client.post("/graphql", content=b"no json", headers={"content-type": "application/json"}, label="broken JSON")
    upload = {"query": "mutation($file: Upload!) { size(file: $file) }", "variables": {"file": None}}
    await client.post(
        "/graphql",
        data={"operations": json.dumps(upload), "map": json.dumps({"0": ["variables.file"]})},
        files={"0": ("a.bin", bytes(3000), "application/octet-stream")},
        label="an upload",
    )
    words = {"query": "subscription { words }"}
    await client.post("/graphql", json=words, headers=EVENTS, sees=["one"], label="a subscription as events")
    await client.post("/graphql", json=words, headers=PARTS, sees=["one"], label="a subscription in parts")
    broken = {"query": "subscription { broken }"}
    await client.post("/graphql", json=broken, headers=EVENTS, sees=["one"], label="a subscription that fails")


async def at_the_deadline(client: Client) -> None:
    await client.get("/graphql?query=subscription%20%7B%20forever%20%7D", headers=EVENTS, sees=["one"], label="forever")
    await client.post("/graphql", json={"query": "{ hello }"}, label="the next request")
