"""Streaming handlers without ASGI: what ``awslambda.streamifyResponse`` is to Node.js, in Python's manner.

    from asgi_stream import streaming_handler

    @streaming_handler
    async def handler(event, response, context):
        response.http(200, {"content-type": "text/html"})
        await response.write("<h1>Hello</h1>")

Nothing of the ASGI machinery is imported for them, and nothing of streams for a plain ``handler(event, context)``.
"""
