"""The whole server: one listening socket, one engine, from start to drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve

from engine.client import Deliver, EngineClient
from engine.errors import AntiphonError, ConfigError
from engine.metrics import STAGE_SECONDS
from server.admission import Admission
from server.config import Settings
from server.connection import Connection
from server.http import Http
from server.hub import Hub
from server.loop_watch import watch_loop
from server.sockets import OpenSockets, TimedConnection
from server.web_files import load_web_files

MakeEngine = Callable[[Settings, Deliver], EngineClient]

log = logging.getLogger("antiphon.service")

_HANDSHAKE = STAGE_SECONDS.labels("handshake")
_CLOSE_TIMEOUT_S = 5.0
_WATCH_S = 1.0  # how often the engine is looked at


class Service:
    """Listens at once, is ready when the models are, and drains when told to stop.

    ``make_engine`` builds the engine; it and the engine's ``start`` run in a thread of their
    own, so that ``/health`` answers meanwhile.
    """

    def __init__(self, settings: Settings, make_engine: MakeEngine) -> None:
        self._settings = settings
        self._make_engine = make_engine
        self._stop = asyncio.Event()
        self._hub = Hub(settings)
        self._files = load_web_files()
        self.starting: threading.Thread | None = None

    def stop(self) -> None:
        """Begin to drain."""
        self._stop.set()

    async def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve until ``stop``; ``on_ready`` gets the address once the models are warm.

        Raises:
            ConfigError: it cannot listen there, or the certificate cannot be used.
            AntiphonError: the models cannot be loaded; or a part of the engine has died, and
                what could be finished without it is: whoever watches the process starts it anew.
        """
        dead = None
        server = await self._listen()
        url = self._url(server)
        log.info("listening on %s, loading the models", url)
        watching = asyncio.create_task(watch_loop())
        try:
            if await self._start_engine():
                on_ready(url)
                dead = await self._stopped_or_dead()
                await self._drain()
        finally:
            watching.cancel()
            server.close(reason="the server is stopping")
            await server.wait_closed()
            if self._hub.engine is not None and not self.is_starting:
                await asyncio.to_thread(self._hub.engine.close)
        if dead is not None:
            raise AntiphonError(f"the engine has died: {dead}")

    @property
    def is_starting(self) -> bool:
        """The models are still being loaded, which nothing can interrupt."""
        return self.starting is not None and self.starting.is_alive()

    async def _listen(self) -> Server:
        settings = self._settings
        token = settings.auth_token
        admission = Admission(settings.origins, token.get_secret_value() if token else None)
        sockets = OpenSockets(settings.socket_limit)
        http = Http(self._hub, admission, sockets, self._files)
        ping_s = settings.ping_interval_s
        try:
            return await serve(
                self._handle,
                settings.host,
                settings.port,
                create_connection=TimedConnection,
                process_request=http.process_request,
                compression=None,
                max_size=settings.max_message_bytes,
                max_queue=settings.receive_queue,
                write_limit=settings.write_buffer_bytes,
                ping_interval=ping_s,
                # A client that is held back answers pings behind the audio it has under way.
                ping_timeout=max(ping_s, settings.max_buffered_s),
                close_timeout=_CLOSE_TIMEOUT_S,
                server_header="antiphon",
                ssl=self._tls(),
            )
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise ConfigError(f"cannot listen on {where}: {error.strerror or error}") from error

    def _tls(self) -> ssl.SSLContext | None:
        cert, key = self._settings.tls_cert, self._settings.tls_key
        if cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cannot use the certificate {cert}: {error}") from error
        return context

    def _url(self, server: Server) -> str:
        port = server.sockets[0].getsockname()[1]
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{'https' if self._settings.tls_cert else 'http'}://{host}:{port}"

    async def _start_engine(self) -> bool:
        """True when the engine is ready, False if told to stop before that."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Exception | None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            if not outcome.done():
                outcome.set_result(error)

        def start() -> None:
            error: Exception | None = None
            try:
                self._hub.engine = self._make_engine(self._settings, self._hub.deliver)
                self._hub.engine.start()
            except Exception as failure:  # noqa: BLE001 (handed to the loop, which raises it)
                error = failure
            loop.call_soon_threadsafe(settle, error)

        self.starting = threading.Thread(target=start, name="engine-start", daemon=True)
        self.starting.start()
        stopped = asyncio.create_task(self._stop.wait())
        either: set[asyncio.Future[Any]] = {outcome, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not outcome.done():
            return False
        self.starting.join()
        if (error := outcome.result()) is not None:
            raise error
        return True

    async def _stopped_or_dead(self) -> str | None:
        """Wait for ``stop`` (None), or for a part of the engine to die: what it says of that."""
        engine = self._hub.engine
        assert engine is not None
        while not self._stop.is_set():
            if (dead := engine.dead) is not None:
                log.error("%s; the server stops, so that it can be started anew", dead)
                return dead
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_S):
                    await self._stop.wait()
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        assert isinstance(socket, TimedConnection)
        _HANDSHAKE.observe(time.monotonic() - socket.made_at)
        await Connection(socket, self._hub).run()

    async def _drain(self) -> None:
        log.info("stopping: replies in flight may finish")
        if not await self._hub.drain(self._settings.drain_timeout_s):
            log.warning("some replies took too long to finish; closing their connections")
