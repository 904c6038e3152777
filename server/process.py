"""``antiphon serve`` as a child process: for the demo, the tests and the benchmarks."""

from __future__ import annotations

import collections
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Self

from engine.errors import AntiphonError

_LISTENING = re.compile(r"Antiphon is listening on (https?://\S+)")
_LOG_TAIL_LINES = 20


class ServerFailed(AntiphonError):
    """The server ended, or did not come up in time; the text holds the tail of its log."""

    code = "server_failed"


class ServerProcess:
    """One server on a port of its own choosing.

    ``start`` returns its address once it listens; ``stop`` ends it gently, and leaving the
    context does the same. Its log (standard error) and output can be read at any time.
    """

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        """``on_line`` gets each line that the server prints, from a thread of its own."""
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._tail: collections.deque[str] = collections.deque(maxlen=_LOG_TAIL_LINES)
        self._settled = threading.Event()
        self._reader: threading.Thread | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ws_url(self) -> str:
        """Address of the conversation's WebSocket."""
        return self.url.replace("http", "ws", 1) + "/ws/audio"

    @property
    def log_tail(self) -> str:
        return "\n".join(self._tail)

    def start(
        self,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
    ) -> str:
        """Run ``antiphon serve --port 0 ARGS`` and wait until it listens; returns ``url``.

        A ``--port`` in ``args`` wins. Raises ``ServerFailed``.
        """
        assert self._process is None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "serve", "--port", "0", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            text=True,
            errors="replace",
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name="server-log", daemon=True
        )
        self._reader.start()
        if not self._settled.wait(timeout_s):
            self.stop()
            raise ServerFailed(self._describe(f"was not ready within {timeout_s:g} s"))
        if not self.url:
            raise ServerFailed(self._describe(f"ended with status {self._process.wait()}"))
        return self.url

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask it to drain and end (SIGTERM), or kill it after ``timeout_s``; its exit status."""
        assert self._process is not None
        assert self._reader is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.stop()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._tail.append(line.rstrip())
                found = _LISTENING.search(line)
                if found and not self.url:
                    self.url = found.group(1)
                    self._settled.set()
                if self._on_line:
                    self._on_line(line.rstrip())
        self._settled.set()

    def _describe(self, what: str) -> str:
        return f"The server {what}. The end of its log:\n{self.log_tail}"
