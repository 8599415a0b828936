"""Ours, with FastAPI."""

from asgi_stream import StreamingAdapter
from benchmarks.compare.apps.with_fastapi import app

handler = StreamingAdapter(app)
