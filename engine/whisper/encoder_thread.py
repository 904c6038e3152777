"""The encoder beside the decoder on a CPU: what a stream of its own is on a GPU."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class Encoding(Protocol):
    """A pass that runs a layer at a time."""

    def advance(self) -> bool:
        """Run one layer; False if none is left."""
        ...

    def finish(self) -> Tensor:
        """Run what is left. Returns what the segment's slot is given."""
        ...


@dataclass(eq=False)
class ThreadedEncoding:
    """An encoder pass in the line of an ``EncoderThread``; ``begin`` starts it there."""

    thread: EncoderThread
    begin: Callable[[], Encoding]
    urgent: bool
    encoding: Encoding | None = None
    heard: Tensor | None = None
    spent_s: float = 0.0
    error: Exception | None = None

    def advance(self) -> bool:
        """Whether it is still under way; never waits. Raises ``RuntimeError`` where it failed."""
        if self.error is not None:
            raise RuntimeError(f"the encoder failed: {self.error}") from self.error
        return self.heard is None

    def wait(self) -> None:
        """Let the most urgent pass in the line get one layer further."""
        self.thread.help()

    def finish(self) -> list[Tensor]:
        """What each segment's slot (there is one) is given, once the pass is over."""
        assert self.heard is not None
        return [self.heard]

    def hurry(self) -> None:
        """It is a final's by now: the next layer run is its own."""
        self.urgent = True

    def drop(self) -> None:
        """Nobody wants it any more."""
        self.thread.drop(self)


class EncoderThread:
    """Runs encoder passes a layer at a time, those of finals first.

    While the decoder is at work they run on a thread of their own, with all threads of the
    processor but one; else on the decoder's thread, with all of them: to wake another would take
    longer.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._line: list[ThreadedEncoding] = []
        self._changed = threading.Condition()
        self._decoding = False
        self._at_work = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="asr-encoder", daemon=True)

    def begin(self, begin: Callable[[], Encoding], *, urgent: bool) -> ThreadedEncoding:
        """Put a pass in the line, which ``begin`` starts."""
        encoding = ThreadedEncoding(self, begin, urgent)
        with self._changed:
            self._line.append(encoding)
            self._changed.notify_all()
        return encoding

    def go_beside(self, decoding: bool) -> None:
        """Whether the decoder is at work from now on."""
        if decoding and self._line and not self._thread.is_alive():
            self._thread.start()
        with self._changed:
            self._decoding = decoding
            self._changed.notify_all()

    def help(self) -> None:
        """On the decoder's thread: run one layer, or wait for the one that is being run."""
        with self._changed:
            if self._at_work:
                self._changed.wait_for(lambda: not self._at_work)
                return
            encoding = self._next()
        if encoding is not None:
            self._advance(encoding, self._threads)

    def drop(self, encoding: ThreadedEncoding) -> None:
        with self._changed:
            if encoding in self._line:
                self._line.remove(encoding)

    def close(self) -> None:
        """End the thread, after the layer at work."""
        with self._changed:
            self._closed = True
            self._line.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._closed or (self._decoding and bool(self._line) and not self._at_work)
                    )
                )
                if self._closed:
                    return
                encoding = self._next()
            if encoding is not None:
                self._advance(encoding, max(1, self._threads - 1))

    def _next(self) -> ThreadedEncoding | None:
        """Take the most urgent; whoever calls this holds the condition."""
        first = next((each for each in self._line if each.urgent), None)
        encoding = first or (self._line[0] if self._line else None)
        self._at_work = encoding is not None
        return encoding

    def _advance(self, encoding: ThreadedEncoding, threads: int) -> None:
        torch.set_num_threads(threads)
        began_at, more = time.monotonic(), False
        try:
            if encoding.encoding is None:
                encoding.encoding = encoding.begin()
            more = encoding.encoding.advance()
            if not more:
                encoding.heard = encoding.encoding.finish()
        except Exception as error:  # whatever it is: advance() tells it to whoever asks
            log.exception("an encoder pass failed")
            encoding.error = error
        encoding.spent_s += time.monotonic() - began_at
        with self._changed:
            self._at_work = False
            if not more and encoding in self._line:
                self._line.remove(encoding)
            self._changed.notify_all()
