"""An example of an app on asgi-stream."""
