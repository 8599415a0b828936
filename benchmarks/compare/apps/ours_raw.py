"""Ours, with the raw app."""

from asgi_stream import StreamingAdapter
from benchmarks.compare.apps.raw import app

handler = StreamingAdapter(app)
