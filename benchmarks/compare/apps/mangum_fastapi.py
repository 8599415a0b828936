"""Mangum, with FastAPI."""

from mangum import Mangum

from benchmarks.compare.apps.with_fastapi import app

handler = Mangum(app, lifespan="off")
