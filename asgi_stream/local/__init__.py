"""Lambda on this machine: what `asgi-stream dev` and `asgi-stream invoke` run.

Four rooms, each of which talks to its neighbours only by values and by HTTP:

    browser --HTTP--> front_end --event--> pool --> environment --> runtime_api <--HTTP--> child process

The function is never imported here. It runs in a child process, started as Lambda starts it, and speaks the
real Runtime API over a real socket; so what works here has taken the path that it takes on Lambda.

Needs the extra `asgi-stream[local]`, and is never imported by what runs on Lambda.
"""
