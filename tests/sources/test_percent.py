"""Percent-encoding without urllib where there is nothing to do, and as urllib does it where there is."""

from __future__ import annotations

import urllib.parse

from hypothesis import given
from hypothesis import strategies as st

from asgi_stream.sources.percent import PATH_SAFE, quote_path, quote_query, unquote

TEXTS = st.text(st.characters(max_codepoint=0x7F) | st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_paths(text: str) -> None:
    assert quote_path(text) == urllib.parse.quote(text, safe=PATH_SAFE).encode()
    assert unquote(text) == urllib.parse.unquote(text)
    assert unquote(quote_path(text).decode()) == text


@given(TEXTS)
def test_queries(text: str) -> None:
    assert quote_query(text) == urllib.parse.quote_plus(text)


def test_lone_surrogates_which_json_may_carry() -> None:
    assert quote_path("/\ud800") == b"/%ED%A0%80"
    assert quote_query("\ud800 a") == "%ED%A0%80+a"
