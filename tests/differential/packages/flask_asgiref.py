"""Flask through asgiref's WsgiToAsgi."""

from __future__ import annotations

from asgiref.wsgi import WsgiToAsgi

from tests.differential.harness import Client, standard
from tests.differential.packages._flask_app import app as flask_app

REQUIRES = ["flask", "asgiref"]
VOLATILE = [r"session=[\w.\-]+"]

app = WsgiToAsgi(flask_app)


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/count")
    await client.get("/count", label="again, with the session")
