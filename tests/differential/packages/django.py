"""Django: sessions, a login with CSRF tokens, streams, files, forms and whitenoise's static files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import django
from django.conf import settings
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import path

from tests.differential.harness import Client, gate, standard

REQUIRES = ["django", "whitenoise"]
TARGETS = ["local", "rest_api", "rest_api_buffered", "http_api", "alb"]
VOLATILE = [r"csrftoken=\w+", r"sessionid=\w+", r'value="\w{64}"']

settings.configure(
    SECRET_KEY="differential",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.admin",
    ],
    MIDDLEWARE=[
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    STATIC_URL="/static/",
    STATIC_ROOT="static",
    WHITENOISE_USE_FINDERS=False,
    LOGGING_CONFIG=None,
    USE_TZ=True,
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

if not Path("db.sqlite3").exists():
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("admin", password="secret")

FORM = engines["django"].from_string("<form method=post>{% csrf_token %}<input name=field>{{ request.user }}</form>")


async def index(request):
    return HttpResponse("hello")


async def item(request, name):
    return JsonResponse(
        {"name": name, "path": request.path, "q": request.GET.getlist("q"), "url": request.build_absolute_uri()}
    )


async def pieces():
    yield b"one"
    await gate()
    yield b"two"
    await gate()
    yield b"three"


async def stream(request):
    return StreamingHttpResponse(pieces(), content_type="text/plain")


async def broken_pieces():
    yield b"one"
    await gate()
    raise ValueError("boom")


async def broken(request):
    return StreamingHttpResponse(broken_pieces(), content_type="text/plain")


def error(request):
    raise ValueError("boom")


@csrf_exempt
def form(request):
    return JsonResponse(request.POST.dict())


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return JsonResponse({"name": file.name, "bytes": len(file.read())})


@csrf_exempt
async def body(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


def file(request):
    return FileResponse(open("static/data.bin", "rb"), as_attachment=True)


def empty(request):
    return HttpResponse(status=204)


def redirects(request):
    response = HttpResponseRedirect("/items/a")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", max_age=60)
    return response


def guarded(request):
    if request.method == "POST":
        request.session["field"] = request.POST["field"]
        return redirect("/guarded")
    return HttpResponse(FORM.render({"field": request.session.get("field")}, request))


urlpatterns = [
    path("", index),
    path("items/<path:name>", item),
    path("stream", stream),
    path("broken", broken),
    path("error", error),
    path("form", form),
    path("upload", upload),
    path("body", body),
    path("file", file),
    path("empty", empty),
    path("redirect", redirects),
    path("guarded", guarded),
    path("admin/", admin.site.urls),
]
sys.modules.setdefault(settings.ROOT_URLCONF, sys.modules[__name__])
app = get_asgi_application()


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/items")
    await client.get("/static/hello.txt")
    await client.get("/static/data.bin", headers={"range": "bytes=5-9"}, label="a range of a static file")
    page = await client.get("/guarded")
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    await client.post("/guarded", data={"field": "a"}, label="without a CSRF token")
    await client.post("/guarded", data={"field": "a", "csrfmiddlewaretoken": token}, label="with a CSRF token")
    await client.get("/admin/", label="not logged in")
    page = await client.get("/admin/login/?next=%2Fadmin%2F")
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    login = {"username": "admin", "password": "secret", "next": "/admin/", "csrfmiddlewaretoken": token}
    await client.post("/admin/login/", data=login)
    await client.get("/admin/auth/", label="logged in")
