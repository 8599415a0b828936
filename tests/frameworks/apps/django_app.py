from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import include, path, reverse

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


async def redirect(request: HttpRequest) -> HttpResponseBase:
    return HttpResponseRedirect("/target")


async def form(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse(f"field={request.POST['field']}", content_type="text/plain")


async def error(request: HttpRequest) -> HttpResponseBase:
    raise ValueError("boom")


async def where(request: HttpRequest) -> HttpResponseBase:
    link = request.build_absolute_uri(reverse("where"))
    return HttpResponse(f"{request.path} {link}", content_type="text/plain")


async def folder(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse("folder", content_type="text/plain")


urlpatterns = [
    *(path(view.__name__, view, name=view.__name__) for view in (stream, file, redirect, form, error, where)),
    path("inner/", include([path("where", where)])),
    path("folder/", folder),
]


def make(stage: Stage) -> ASGIHandler:
    global current
    current = stage
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=sys.modules[__name__],
            ALLOWED_HOSTS=["testserver", "www.example.com"],
            SECRET_KEY="for tests only",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        )
        django.setup()
    return get_asgi_application()
