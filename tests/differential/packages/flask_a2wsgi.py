"""Flask through a2wsgi's WSGIMiddleware."""

from __future__ import annotations

from a2wsgi import WSGIMiddleware

from tests.differential.harness import Client, standard
from tests.differential.packages._flask_app import app as flask_app

REQUIRES = ["flask", "a2wsgi"]
TARGETS = ["local", "rest_api", "rest_api_buffered", "http_api", "alb"]
VOLATILE = [r"session=[\w.\-]+"]

app = WSGIMiddleware(flask_app)


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/count")
    await client.get("/count", label="again, with the session")
