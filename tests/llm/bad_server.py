"""An OpenAI-compatible server that misbehaves in the way a test asks for."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from patience import PATIENCE_S

Behaviour = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request, and the means to answer it wrongly."""

    server: BadServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        self.server.behaviours.popleft()(self)
        self.close_connection = True

    def do_GET(self) -> None:
        self.refuse(200, {"data": [{"id": "/models/first.gguf"}, {"id": "second"}]})

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is for the test."""

    def refuse(self, status: int, body: object, **headers: str) -> None:
        self.refuse_raw(status, json.dumps(body), **headers)

    def refuse_raw(self, status: int, body: str, **headers: str) -> None:
        raw = body.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def begin(self, content_type: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.end_headers()

    def event(self, data: object) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.wfile.write(f"data: {text}\n\n".encode())

    def say(self, *pieces: str, finish: str | None = None, **more: object) -> None:
        for piece in pieces:
            self.event({"choices": [{"delta": {"content": piece}}]})
        if finish:
            self.event({"choices": [{"delta": {}, "finish_reason": finish}]} | more)
            self.event("[DONE]")

    def wait_for_the_client_to_leave(self) -> None:
        self.connection.settimeout(PATIENCE_S)
        try:
            left = self.connection.recv(1) == b""
        except ConnectionResetError:
            left = True
        if left:
            self.server.client_left.set()


class BadServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.behaviours: deque[Behaviour] = deque()
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.client_left = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def bad_server(port: int = 0) -> Iterator[BadServer]:
    server = BadServer(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answers(*pieces: str, finish: str = "stop", **more: object) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.begin()
        exchange.say(*pieces, finish=finish, **more)

    return behave


def refuses(status: int, message: str = "no", **headers: str) -> Behaviour:
    return lambda exchange: exchange.refuse(status, {"error": {"message": message}}, **headers)


def does_not_support(field: str, code: str = "unsupported_parameter") -> Behaviour:
    error = {"message": f"{field}: no", "type": "invalid_request_error", "param": field}
    return lambda exchange: exchange.refuse(400, {"error": error | {"code": code}})


def thinks(*pieces: str, field: str = "reasoning_content") -> Sequence[object]:
    """Events of a model that reasons."""
    return [{"choices": [{"delta": {"content": None, field: piece}}]} for piece in pieces]


def ends(finish: str = "stop", **more: object) -> object:
    return {"choices": [{"delta": {}, "finish_reason": finish}]} | more


def breaks_off(*pieces: str) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.begin()
        exchange.say(*pieces)

    return behave


def falls_silent(*pieces: str) -> Behaviour:
    """After these pieces nothing but signs of life, until the client leaves."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        exchange.say(*pieces)
        exchange.wfile.write(b": still here\n\n")
        exchange.wait_for_the_client_to_leave()

    return behave


def sends(*events: object, content_type: str = "text/event-stream") -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.begin(content_type)
        for event in events:
            exchange.event(event)

    return behave


def hangs_up(exchange: Exchange) -> None:
    """Not even a status."""
