"""The floor in Python: one plain `sendmsg` for each message, and asyncio for the pauses. A program."""

import asyncio
import json
import os
import socket
import time

PRELUDE = json.dumps({"statusCode": 200, "headers": {"content-type": "text/plain"}}).encode() + bytes(8)
API = "/2018-06-01/runtime/invocation"


def poll(sock: socket.socket) -> tuple[str, dict[str, object]]:
    sock.sendall(f"GET {API}/next HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(body) < int(headers["content-length"]):
        body += sock.recv(65_536)
    return headers["lambda-runtime-aws-request-id"], json.loads(body)


async def main() -> None:
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        request_id, event = poll(sock)
        path = str(event["rawPath"])
        head = (
            f"POST {API}/{request_id}/response HTTP/1.1\r\nHost: x\r\n"
            "Content-Type: application/vnd.awslambda.http-integration-response\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sock.sendmsg((head.encode(), b"%x\r\n" % len(PRELUDE), PRELUDE, b"\r\n"))
        _, name, count = path.split("/")
        message = b"x" * 31 + b"\n"
        for _ in range(int(count)):
            if name == "spaced":
                await asyncio.sleep(0.002)
                message = b"%-31d\n" % time.monotonic_ns()
            sock.sendmsg((b"%x\r\n" % len(message), message, b"\r\n"))
        sock.sendall(b"0\r\n\r\n")
        sock.recv(65_536)


asyncio.run(main())
