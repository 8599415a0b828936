"""Settings: arguments, environment variables, and what is refused."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asgi_stream
from asgi_stream import ConfigurationError, StreamingAdapter
from asgi_stream.config import SETTINGS, TEXT_MIME_TYPES, Config, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping


def config(environ: Mapping[str, str] | None = None, **arguments: Any) -> Config:
    return load_config(arguments, environ or {}, sources=("mine",))


def test_defaults() -> None:
    assert config() == Config(
        lifespan="auto",
        invoke_mode=(),
        root_path="",
        api_gateway_base_path="",
        text_mime_types=TEXT_MIME_TYPES,
        exclude_headers=frozenset(),
        deadline_margin=None,
    )
    assert (config().pathsend, config().stage, config().context_headers) == (False, "strip", False)
    assert config().streams("function_url")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lifespan", "off", "off"),
        ("root_path", "/v1/", "/v1"),
        ("root_path", "/a b", "/a b"),
        ("root_path", "v1/a", "/v1/a"),
        ("root_path", "/", ""),
        ("api_gateway_base_path", "/", ""),
        ("api_gateway_base_path", "/base", "/base"),
        ("text_mime_types", ["Text/", "x/y"], ("text/", "x/y")),
        ("deadline_margin", 2, 2.0),
        ("workers", 4, 4),
        ("share_writes", True, True),
        ("share_writes", "on", True),
        ("pathsend", True, True),
        ("stage", "root_path", "root_path"),
        ("context_headers", True, True),
        ("host_header", " X-Forwarded-Host ", b"x-forwarded-host"),
        ("custom_domain_stage", False, False),
        ("exclude_headers", ["X-Powered-By"], frozenset({b"x-powered-by"})),
        ("invoke_mode", "buffered", (("*", "buffered"),)),
        ("invoke_mode", {"rest_api": "buffered"}, (("rest_api", "buffered"),)),
        ("invoke_mode", {"mine": "stream"}, (("mine", "stream"),)),
    ],
)
def test_arguments(name: str, value: Any, expected: object) -> None:
    assert getattr(config(**{name: value}), name) == expected


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("ASGI_STREAM_LIFESPAN", "on", "lifespan", "on"),
        ("ASGI_STREAM_ROOT_PATH", "/v1", "root_path", "/v1"),
        ("ASGI_STREAM_DEADLINE_MARGIN", "0.5", "deadline_margin", 0.5),
        ("ASGI_STREAM_WORKERS", "4", "workers", 4),
        ("ASGI_STREAM_SHARE_WRITES", "on", "share_writes", True),
        ("ASGI_STREAM_SHARE_WRITES", "off", "share_writes", False),
        ("ASGI_STREAM_PATHSEND", "on", "pathsend", True),
        ("ASGI_STREAM_STAGE", "root_path", "stage", "root_path"),
        ("ASGI_STREAM_CONTEXT_HEADERS", "on", "context_headers", True),
        ("ASGI_STREAM_HOST_HEADER", "x-forwarded-host", "host_header", b"x-forwarded-host"),
        ("ASGI_STREAM_CUSTOM_DOMAIN_STAGE", "off", "custom_domain_stage", False),
        ("ASGI_STREAM_PATHSEND", "off", "pathsend", False),
        *(
            ("ASGI_STREAM_SHARE_WRITES", text, "share_writes", True)
            for text in ("1", "true", "True", "TRUE", "yes", "Yes", "ON", " on ")
        ),
        *(
            ("ASGI_STREAM_SHARE_WRITES", text, "share_writes", False)
            for text in ("0", "false", "False", "FALSE", "no", "NO", "Off", "false\n")
        ),
        ("ASGI_STREAM_TEXT_MIME_TYPES", "text/, x/y", "text_mime_types", ("text/", "x/y")),
        ("ASGI_STREAM_EXCLUDE_HEADERS", "a,B", "exclude_headers", frozenset({b"a", b"b"})),
        (
            "ASGI_STREAM_INVOKE_MODE",
            "buffered",
            "invoke_mode",
            (("*", "buffered"),),
        ),
        (
            "ASGI_STREAM_INVOKE_MODE",
            "function_url=stream, rest_api=buffered",
            "invoke_mode",
            (("function_url", "stream"), ("rest_api", "buffered")),
        ),
    ],
)
def test_variables(variable: str, value: str, name: str, expected: object) -> None:
    assert getattr(config({variable: value}), name) == expected


def test_an_argument_beats_its_variable() -> None:
    assert config({"ASGI_STREAM_LIFESPAN": "on"}, lifespan="off").lifespan == "off"


def test_each_source_has_its_mode() -> None:
    modes = config(invoke_mode={"rest_api": "buffered"})
    assert modes.streams("function_url")
    assert not modes.streams("rest_api")
    assert modes.streams("mine")


def test_one_mode_is_for_every_source() -> None:
    modes = config(invoke_mode="buffered")
    assert not any(modes.streams(source) for source in ("function_url", "rest_api", "mine"))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("lifespan", "maybe", "lifespan must be one of auto, on, off, not 'maybe'"),
        ("lifespan", True, "lifespan must be one of"),
        ("invoke_mode", "RESPONSE_STREAM", "invoke_mode must be one of stream, buffered, not 'RESPONSE_STREAM'"),
        ("invoke_mode", {"alb": "stream"}, "a source in invoke_mode must be one of function_url, rest_api, mine"),
        ("invoke_mode", {"rest_api": "fast"}, "invoke_mode must be one of stream, buffered, not 'fast'"),
        ("invoke_mode", "mine=stream,mine=buffered", "invoke_mode names a source twice"),
        ("root_path", "/caf%C3%A9", "root_path must be a decoded path"),
        ("invoke_mode", 7, "invoke_mode must be a mode or a mapping"),
        ("root_path", 7, "root_path must be a path"),
        ("root_path", "/a?b", "root_path must be a decoded path without a query"),
        ("api_gateway_base_path", "//a//b", "api_gateway_base_path must be a decoded path"),
        *(
            ("deadline_margin", odd, "deadline_margin must be a number of seconds")
            for odd in (-1, 901, "soon", True, "nan")
        ),
        *(
            ("workers", odd, "workers must be a number of processes")
            for odd in (0, -1, True, 2.0, "two", "", "9" * 5000)
        ),
        *(
            (name, odd, f"{name} must be True or False, on or off")
            for name in ("share_writes", "context_headers", "pathsend")
            for odd in (1, 0, "y", "", "2", "on off", ["on"])
        ),
        *(
            ("host_header", odd, "host_header must be the name of a header, such as x-forwarded-host")
            for odd in ("", True, "x forwarded", "x_forwarded_host", "h\xe9", "a,b", b"x", "-")
        ),
        *(("stage", odd, "stage must be one of strip, root_path") for odd in ("", "/prod", True, "off")),
        ("text_mime_types", 7, "text_mime_types must be a list of texts"),
        ("exclude_headers", [b"a"], "exclude_headers must be a list of texts"),
    ],
)
def test_what_is_refused(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        config(**{name: value})


def test_a_variable_says_its_own_name() -> None:
    with pytest.raises(ConfigurationError, match="ASGI_STREAM_LIFESPAN must be one of"):
        config({"ASGI_STREAM_LIFESPAN": "maybe"})


def test_an_unknown_variable() -> None:
    with pytest.raises(
        ConfigurationError, match="ASGI_STREAM_LIFE is not a setting; these are: ASGI_STREAM_ACCESS_LOG"
    ):
        config({"ASGI_STREAM_LIFE": "on"})


def test_variables_of_the_runtime_and_of_others_are_let_be() -> None:
    assert config({"ASGI_STREAM_LOOP": "uvloop", "ASGI_STREAM_EXEC_WRAPPER": "/opt/x", "OTHER": "x"}) == config()


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def test_the_adapter_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_STREAM_ROOT_PATH", "/v1")
    assert StreamingAdapter(app).config.root_path == "/v1"
    monkeypatch.setenv("ASGI_STREAM_ODD", "1")
    with pytest.raises(ConfigurationError):
        StreamingAdapter(app)


@pytest.mark.parametrize("bad", [None, "app", 7])
def test_what_is_no_app(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="needs an ASGI application"):
        StreamingAdapter(bad)


def test_what_is_no_function() -> None:
    with pytest.raises(ConfigurationError, match="on_event must be a function"):
        StreamingAdapter(app, on_event="handle")  # type: ignore[arg-type]


def test_an_unknown_argument() -> None:
    with pytest.raises(TypeError, match="lifespam"):
        StreamingAdapter(app, lifespam="on")  # type: ignore[call-arg]


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(AttributeError, match="lifespan cannot be set: a Config is read-only"):
        config().lifespan = "off"


def test_a_configuration_is_copied_as_it_is() -> None:
    original = config(workers=4, lifespan="off")
    assert pickle.loads(pickle.dumps(original)) == copy.deepcopy(original) == original != config()
    assert hash(copy.copy(original)) == hash(original)
    assert repr(original).startswith("Config(lifespan='off', invoke_mode=(), ")
    with pytest.raises(TypeError, match="not settings: worker"):
        Config(worker=4)


@pytest.mark.parametrize(
    ("content_type", "encoding", "expected"),
    [
        ("text/html; charset=utf-8", "", True),
        ("Application/JSON", "", True),
        ("application/vnd.api+json", "", True),
        ("application/problem+json", "", True),
        ("application/problem+xml", "", True),
        ("Application/Problem+JSON; charset=utf-8", "", True),
        ("application/ld+json;profile=http://www.w3.org/ns/json-ld#flattened", "", True),
        ("application/vnd.oai.openapi+yaml;version=3.1", "", True),
        ("application/vnd.oai.openapi;version=3.1", "", True),
        ("application/geo+json-seq", "", True),
        ("application/secevent+jwt", "", True),
        ("application/xhtml+xml ; charset=utf-8", "", True),
        ("image/svg+xml", "", True),
        ("application/atom+xml", "", True),
        ("application/yaml", "", True),
        ("application/x-ndjson", "", True),
        ("application/jsonl", "", True),
        ("application/json-seq", "", True),
        ("application/x-jsonlines", "", True),
        ("application/graphql", "", True),
        ("application/graphql-response+json", "", True),
        ("application/x-www-form-urlencoded", "", True),
        ("application/x-javascript", "", True),
        ("application/toml", "", True),
        ("application/sparql-query", "", True),
        ("application/vnd.apple.mpegurl", "", True),
        ("text/event-stream", "", True),
        ("image/png", "", False),
        ("application/octet-stream", "", False),
        ("application/zip", "", False),
        ("application/epub+zip", "", False),
        ("application/vnd.wap.wbxml", "", False),
        ("application/senml+cbor", "", False),
        ("application/geo+json+zstd", "", False),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "", False),
        ("image/png; note=+json", "", False),
        ("multipart/form-data; boundary=x", "", False),
        ("", "", False),
        ("+json", "", True),
        ("text/html", "gzip", False),
        ("application/problem+json", "br", False),
        ("text/html", "identity", True),
        ("text/html", " Identity ", True),
        ("text/html", "identity, gzip", False),
        ("text/plain; charset=utf-16", "", False),
        ('application/json; Charset="UTF-16LE"', "", False),
        ("text/plain; charset=utf-32", "", False),
        ("text/plain; charset=cp037", "", False),
        ("text/plain; charset=iso-8859-1", "", True),
        ("text/plain; charset=us-ascii", "", True),
        ("text/plain; charset=x-user-defined", "", True),
        ("text/plain; charset=", "", True),
        ("text/plain; charset=hex", "", True),
        ("text/plain; charset=" + "x" * 5000, "", True),
        ("text/plain; format=utf-16", "", True),
    ],
)
def test_what_is_text(content_type: str, encoding: str, expected: bool) -> None:
    assert config().is_text(content_type, encoding) is expected


@pytest.mark.parametrize(
    ("types", "content_type", "expected"),
    [
        (["application/json"], "application/json; charset=utf-8", True),
        (["application/json"], "application/problem+json", False),
        (["application/json"], "text/plain", False),
        (["+json"], "application/problem+json", True),
        (["+JSON"], "application/problem+json;a=b", True),
        (["+json"], "application/json", False),
        (["+json"], "application/problem+xml", False),
        (["text/", "+geo+json"], "application/vnd+geo+json", True),
        (["text/html; charset=utf-8"], "text/html; charset=utf-8", True),
        (["text/html; charset=utf-8"], "text/html", False),
        ([], "text/html", False),
    ],
)
def test_a_users_list_of_text_replaces_the_table_and_its_suffixes(
    types: list[str], content_type: str, expected: bool
) -> None:
    assert config(text_mime_types=types).is_text(content_type, "") is expected
    assert config({"ASGI_STREAM_TEXT_MIME_TYPES": ",".join(types)}).is_text(content_type, "") is expected


def test_each_default_type_is_in_the_documents() -> None:
    page = (Path(asgi_stream.__file__).parent.parent / "docs" / "settings.md").read_text()
    assert [entry for entry in TEXT_MIME_TYPES if f"`{entry}`" not in page] == []


class Mine:
    """An event source that is whole."""

    name = "mine"
    streams = True
    limit = 1_000

    def matches(self, event: Any) -> bool:
        return False

    to_request = to_answer = to_prelude = matches


@pytest.mark.parametrize(
    ("member", "value", "sentence"),
    [
        ("name", None, "an event source must have a name"),
        ("name", "alb", "there is an event source named alb already"),
        ("streams", 1, "the event source mine must say streams, a bool, and limit, a number of bytes"),
        ("limit", None, "the event source mine must say streams, a bool, and limit"),
        ("matches", None, "the event source mine lacks the method matches"),
        ("to_request", None, "lacks the method to_request"),
        ("to_answer", None, "lacks the method to_answer"),
        ("to_prelude", None, "lacks the method to_prelude"),
    ],
)
def test_what_is_no_event_source(member: str, value: object, sentence: str) -> None:
    StreamingAdapter(app, event_sources=[Mine()])  # type: ignore[list-item]
    broken = type("Broken", (Mine,), {member: value})()
    with pytest.raises(ConfigurationError, match=sentence):
        StreamingAdapter(app, event_sources=[broken])


class Broken:
    def _exit(self, *_: Any) -> Any:
        raise SystemExit

    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = _exit


class BrokenList(list[str]):
    __iter__ = __repr__ = Broken._exit


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", [Broken, BrokenList])
def test_values_that_cannot_be_read_are_refused_by_their_name(name: str, kind: type) -> None:
    with pytest.raises(ConfigurationError, match=name):
        config(**{name: kind()})


@pytest.mark.parametrize("option", ["app", "on_event"])
def test_objects_that_cannot_be_told_are_refused(option: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="<Broken: its text could not be made>"):
        StreamingAdapter(**{"app": app, option: Broken()})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["name", "streams", "limit", "matches", "to_answer"])
def test_event_sources_that_cannot_be_read_are_refused(name: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    members = {"name": "mine", "streams": False, "limit": 9, "matches": print, "to_request": print, "to_answer": print}
    source = type("Source", (), {**members, "__repr__": Broken._exit, name: property(Broken._exit)})()
    with pytest.raises(ConfigurationError):
        StreamingAdapter(app, event_sources=[source])
