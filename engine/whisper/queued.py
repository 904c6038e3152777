"""The encoder on a queue of its own, so that a long pass of it delays no token."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from engine.whisper.encoder import Encoder
from kernels.queues import Queues, send


class QueuedEncoding:
    """An encoder pass that was put into the encoder's queue whole.

    What ``ThreadedEncoding`` is on a CPU.
    """

    def __init__(self, encoder: Encoder, mel: Tensor, device: torch.device, queues: Queues) -> None:
        """mel ``[batch, frames, n_mels]`` float32 on the host."""
        self._reader = queues.decoder
        self._began_at = time.monotonic()
        with queues.encoder.open():
            self._states = encoder(send(mel, device))
            self._made = queues.encoder.mark()

    @property
    def spent_s(self) -> float:
        """Seconds since it was put into the queue."""
        return time.monotonic() - self._began_at

    def advance(self) -> bool:
        """Whether it is still under way; never waits."""
        return not self._made.query()

    def wait(self) -> None:
        """Let the host sleep until it is done."""
        self._made.synchronize()

    def hurry(self) -> None:
        """Nothing: a device takes its queue in order."""

    def drop(self) -> None:
        """Nothing: a device does what it was given."""

    def finish(self) -> Tensor:
        """States ``[batch, positions, width]`` for the decoder's queue, which waits for them."""
        self._reader.adopt(self._states, self._made)
        return self._states
