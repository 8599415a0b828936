"""Streaming handlers without ASGI: the examples that AWS's documentation has for Node.js, in Python.

Each runs by itself: `asgi-stream dev example_app.handlers.headings:handler`. Their twins are tests/node/examples.
"""
