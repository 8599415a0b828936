"""An app on asgi-stream in four uses: `chat`, `files`, `rendering` and `live`, each a module to copy from."""
