"""Settings: arguments, environment variables, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import ConfigurationError, StreamingAdapter
from asgi_stream.config import TEXT_MIME_TYPES, Config, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping


def config(environ: Mapping[str, str] | None = None, **arguments: Any) -> Config:
    return load_config(arguments, environ or {}, sources=("mine",))


def test_defaults() -> None:
    assert config() == Config("auto", (), "", "", TEXT_MIME_TYPES, frozenset(), None)
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
        *(("share_writes", odd, "share_writes must be True or False, on or off") for odd in (1, "yes", "", ["on"])),
        *(
            ("host_header", odd, "host_header must be the name of a header, such as x-forwarded-host")
            for odd in ("", True, "x forwarded", "x_forwarded_host", "h\xe9", "a,b", b"x", "-")
        ),
        *(("context_headers", odd, "context_headers must be True or False, on or off") for odd in (1, "yes", "")),
        *(("stage", odd, "stage must be one of strip, root_path") for odd in ("", "/prod", True, "off")),
        *(("pathsend", odd, "pathsend must be True or False, on or off") for odd in (1, "yes", "", ["on"])),
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
        ConfigurationError, match="ASGI_STREAM_LIFE is not a setting; these are: ASGI_STREAM_API_GATEWAY"
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
    with pytest.raises(AttributeError):
        config().lifespan = "off"


@pytest.mark.parametrize(
    ("content_type", "encoding", "expected"),
    [
        ("text/html; charset=utf-8", "", True),
        ("Application/JSON", "", True),
        ("application/vnd.api+json", "", True),
        ("image/png", "", False),
        ("", "", False),
        ("text/html", "gzip", False),
    ],
)
def test_what_is_text(content_type: str, encoding: str, expected: bool) -> None:
    assert config().is_text(content_type, encoding) is expected


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
