"""The floor of a cold start in Python: `python bare.py MODULE` imports asyncio and the app, and polls by one GET."""

import asyncio
import importlib
import os
import socket
import sys

importlib.import_module(sys.argv[1])
assert asyncio is not None
host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
with socket.create_connection((host, int(port))) as sock:
    sock.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
    sock.recv(65_536)
