"""Ariadne: queries, errors, and subscriptions as server-sent events."""

from __future__ import annotations

from ariadne import MutationType, QueryType, SubscriptionType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.contrib.sse import GraphQLHTTPSSEHandler

from tests.differential.harness import Client, gate

REQUIRES = ["ariadne", "python-multipart"]

query, mutation, subscription = QueryType(), MutationType(), SubscriptionType()


@query.field("hello")
async def hello(_, info, name="world"):
    return f"hello {name} at {info.context['request'].url.path}"


@query.field("broken")
async def broken(_, info):
    raise ValueError("boom")


@mutation.field("shout")
def shout(_, info, text):
    return text.upper()


@subscription.source("words")
async def words_source(_, info):
    yield "one"
    await gate()
    yield "two"


@subscription.source("breaks")
async def breaks_source(_, info):
    yield "one"
    await gate()
    raise ValueError("boom")


@subscription.field("words")
@subscription.field("breaks")
def words(word, info):
    return word


SCHEMA = """
type Query { hello(name: String): String! broken: String }
type Mutation { shout(text: String!): String! }
type Subscription { words: String! breaks: String! }
"""

app = GraphQL(make_executable_schema(SCHEMA, query, mutation, subscription), http_handler=GraphQLHTTPSSEHandler())

EVENTS = {"accept": "text/event-stream"}


async def requests(client: Client) -> None:
    await client.post("/graphql", json={"query": '{ hello(name: "ü") }'}, label="a query")
    await client.get("/graphql", headers={"accept": "text/html"}, label="the page for people")
    await client.post("/graphql", json={"query": "{ broken }"}, label="an error")
    await client.post("/graphql", json={"query": 'mutation { shout(text: "a") }'}, label="a mutation")
    await client.post("/graphql", json={"query": "{ nothing }"}, label="an unknown field")
    words = {"query": "subscription { words }"}
    await client.post("/graphql", json=words, headers=EVENTS, sees=["one"], label="a subscription as events")
    breaks = {"query": "subscription { breaks }"}
    await client.post("/graphql", json=breaks, headers=EVENTS, sees=["one"], label="a subscription that fails")
