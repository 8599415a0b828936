"""Django Ninja: a typed API on Django's ASGI handler, with uploads, streams and errors."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import StreamingHttpResponse
from django.urls import path

from tests.differential.harness import Client, gate

REQUIRES = ["django-ninja"]

settings.configure(
    SECRET_KEY="differential", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, INSTALLED_APPS=["ninja"], LOGGING_CONFIG=None
)
django.setup()

from ninja import File, Form, NinjaAPI, Schema  # noqa: E402
from ninja.errors import HttpError  # noqa: E402
from ninja.files import UploadedFile  # noqa: E402

api = NinjaAPI()


class Item(Schema):
    name: str
    price: float = 1.0


@api.get("/items/{name}")
async def item(request, name: str, q: str = "none"):
    return {"name": name, "q": q, "url": request.build_absolute_uri()}


@api.post("/items")
def create(request, item: Item):
    return item


@api.post("/form")
def form(request, field: str = Form(...)):
    return {"field": field}


@api.post("/upload")
def upload(request, file: UploadedFile = File(...)):
    return {"name": file.name, "bytes": file.size}


@api.get("/stream")
async def stream(request):
    async def pieces():
        yield b"one"
        await gate()
        yield b"two"

    return StreamingHttpResponse(pieces(), content_type="text/plain")


@api.get("/refused")
def refused(request):
    raise HttpError(418, "no")


@api.get("/error")
def error(request):
    raise ValueError("boom")


urlpatterns = [path("api/", api.urls)]
app = get_asgi_application()


async def requests(client: Client) -> None:
    await client.get("/api/items/a%20b%2520c?q=a+b")
    await client.head("/api/items/a")
    await client.post("/api/items", json={"name": "tea"})
    await client.post("/api/items", json={"price": "much"}, label="invalid")
    await client.post("/api/form", data={"field": "a+b & ü"})
    await client.post("/api/upload", files={"file": ("a.bin", bytes(3000), "application/octet-stream")})
    await client.get("/api/stream", sees=["one"])
    await client.get("/api/refused")
    await client.get("/api/error")
    await client.get("/api/docs")
    await client.get("/api/openapi.json")
