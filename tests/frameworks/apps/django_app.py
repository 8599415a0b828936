from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path

if TYPE_CHECKING:
    from django.core.handlers.asgi import ASGIHandler
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tests.frameworks.apps.stage import Stage

# Django has one application in a process.
current: Stage


async def stream(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(current.pieces(), content_type="text/plain")


def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(current.file.open("rb"))


async def events(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(current.endless(), content_type="text/event-stream")


async def export(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(current.endless(), content_type="text/csv")


async def redirect(request: HttpRequest) -> HttpResponseBase:
    return HttpResponseRedirect("/target")


async def form(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse(f"field={request.POST['field']}", content_type="text/plain")


async def error(request: HttpRequest) -> HttpResponseBase:
    raise ValueError("boom")


urlpatterns = [path(view.__name__, view) for view in (stream, events, export, file, redirect, form, error)]


def make(stage: Stage) -> ASGIHandler:
    global current
    current = stage
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=sys.modules[__name__], ALLOWED_HOSTS=["testserver"], SECRET_KEY="for tests only"
        )
        django.setup()
    return get_asgi_application()
