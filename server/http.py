"""HTTP beside the WebSocket, on the same port: health, readiness, metrics and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from engine.metrics import ERRORS
from server.admission import Admission
from server.hub import Hub
from server.metrics import READY
from server.sockets import OpenSockets, TimedConnection
from server.web_files import SECURITY_HEADERS, WebFile

AUDIO_PATH = "/ws/audio"
RETRY_AFTER_S = 2

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_PLACES = f"""\
{AUDIO_PATH}  the conversation (WebSocket)
/health    200 while the process is alive
/ready     200 when the models are loaded and warm, else 503
/metrics   Prometheus
"""


class Http:
    """Answers every request that is not an accepted WebSocket handshake."""

    def __init__(
        self, hub: Hub, admission: Admission, sockets: OpenSockets, files: dict[str, WebFile]
    ) -> None:
        self._hub = hub
        self._admission = admission
        self._sockets = sockets
        self._files = files
        self._routes: dict[str, Callable[[Request], Response | None]] = {
            "/health": lambda request: _json(HTTPStatus.OK, {"status": "alive"}),
            "/ready": self._ready,
            "/metrics": self._metrics,
            AUDIO_PATH: self._audio,
        }

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """A response, or None to go on with the WebSocket handshake."""
        path = urlsplit(request.path).path
        if request.method not in ("GET", "HEAD"):
            response = _respond(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is served here.\n")
            response.headers["Allow"] = "GET, HEAD"
            return response
        route = self._routes.get(path, self._file)
        answer = route(request)
        if answer is None:
            assert isinstance(connection, TimedConnection)
            self._sockets.add(connection)
        elif request.method == "HEAD":
            answer.body = b""
        return answer

    def _ready(self, request: Request) -> Response:
        problem, engine = self._hub.problem, self._hub.engine
        if problem is not None or engine is None:
            return _retry_later(_JSON, json.dumps({"ready": False, "reason": problem}))
        body = {"ready": True, "asr": engine.asr_name, "llm": engine.llm_name}
        if (degraded := engine.degraded) is not None:
            body["degraded"] = degraded
        return _json(HTTPStatus.OK, body)

    def _metrics(self, request: Request) -> Response:
        READY.set(self._hub.problem is None)
        return self._unauthorized(request) or _respond(
            HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST
        )

    def _audio(self, request: Request) -> Response | None:
        origin = _header(request, "Origin")
        if not self._admission.origin_allowed(origin, _header(request, "Host")):
            ERRORS.labels("origin").inc()
            return _respond(
                HTTPStatus.FORBIDDEN,
                f"Pages of {origin!r} may not connect; the setting `origins` allows them.\n",
            )
        refusal = self._unauthorized(request)
        if refusal is None and (problem := self._hub.problem) is not None:
            return _retry_later(_TEXT, problem + "\n")
        if refusal is None and self._sockets.full:
            ERRORS.labels("overloaded").inc()
            return _retry_later(_TEXT, f"{len(self._sockets)} connections are open already.\n")
        return refusal

    def _unauthorized(self, request: Request) -> Response | None:
        tokens = parse_qs(urlsplit(request.path).query).get("token", [None])
        if self._admission.token_allowed(_header(request, "Authorization"), tokens[0]):
            return None
        ERRORS.labels("unauthorized").inc()
        response = _respond(
            HTTPStatus.UNAUTHORIZED,
            "Send the header `Authorization: Bearer TOKEN`, or `?token=TOKEN` in the address.\n",
        )
        response.headers["WWW-Authenticate"] = 'Bearer realm="antiphon"'
        return response

    def _file(self, request: Request) -> Response:
        file = self._files.get(urlsplit(request.path).path)
        if file is None:
            return _respond(HTTPStatus.NOT_FOUND, f"Nothing is here. There is:\n\n{_PLACES}")
        response = _respond(HTTPStatus.OK, file.body, file.content_type)
        for name, value in SECURITY_HEADERS.items():
            if name not in response.headers:
                response.headers[name] = value
        return response


def _header(request: Request, name: str) -> str | None:
    """A header's value; several of one name are joined, so that they match nothing."""
    return ", ".join(request.headers.get_all(name)) or None


def _json(status: HTTPStatus, body: dict[str, object]) -> Response:
    return _respond(status, json.dumps(body), _JSON)


def _retry_later(content_type: str, body: str) -> Response:
    response = _respond(HTTPStatus.SERVICE_UNAVAILABLE, body, content_type)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _respond(status: HTTPStatus, body: str | bytes, content_type: str = _TEXT) -> Response:
    data = body.encode() if isinstance(body, str) else body
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(data)),
            "Connection": "close",
            "X-Content-Type-Options": "nosniff",
        }
    )
    return Response(status.value, status.phrase, headers, data)
