"""Mangum, with the raw app."""

from mangum import Mangum

from benchmarks.compare.apps.raw import app

handler = Mangum(app, lifespan="off")
