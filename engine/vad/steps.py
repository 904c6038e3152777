"""Steps of the VAD network over the state of all slots: as it is, or on a queue of device work."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.types import Pcm
from kernels.graphs import Replays, bucket
from kernels.queues import Queue, host_room
from kernels.silero import FRAME_SAMPLES, SileroState, SileroWeights, silero_step


class Steps(Protocol):
    """Owns every slot's state."""

    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """frames ``[n, 512]`` float32, slots ``[n]`` distinct; probabilities ``[n]`` float32."""
        ...

    def forget(self, slots: int | slice) -> None:
        """Begin anew with a slot, or with several."""
        ...

    def prepare(self) -> None:
        """Whatever is better done before the first step; leaves no trace in any slot."""
        ...

    def close(self) -> None:
        """Let go of every slot's state."""
        ...


def _advance(weights: SileroWeights, state: SileroState, frames: Tensor, slots: Tensor) -> Tensor:
    """One step of ``slots`` ``[n]`` int64, whose state is changed; probabilities ``[n]``."""
    before = SileroState(*(part.index_select(0, slots) for part in state))
    probability, after = silero_step(weights, frames, before)
    for whole, part in zip(state, after, strict=True):
        whole.index_copy_(0, slots, part)
    return probability


class DirectSteps:
    """The way of a CPU."""

    def __init__(self, weights: SileroWeights, slots: int, device: torch.device) -> None:
        self._device = device
        self._weights = weights
        self._state = SileroState.zeros(slots, device)

    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        # torch cannot share memory that NumPy holds read-only, so such frames are copied
        writeable = np.require(frames, np.float32, ["C", "W"])
        audio = torch.from_numpy(writeable).to(self._device)
        index = torch.from_numpy(np.ascontiguousarray(slots, np.int64)).to(self._device)
        probability = _advance(self._weights, self._state, audio, index)
        result: npt.NDArray[np.float32] = probability.cpu().numpy()
        return result

    def forget(self, slots: int | slice) -> None:
        for part in self._state:
            part[slots].zero_()

    def prepare(self) -> None:
        """Nothing: every step is as quick as the first."""

    def close(self) -> None:
        self._state = SileroState.zeros(0, self._device)


class QueuedSteps:
    """The way of a GPU: fixed buffers, a graph for each of a few sizes, one wait for the host.

    Audio and probabilities go through memory that the device reads and writes by itself. Rows of
    padding are steps of a slot that nobody has.
    """

    def __init__(
        self,
        weights: SileroWeights,
        slots: int,
        device: torch.device,
        queue: Queue,
        *,
        graphs: bool,
    ) -> None:
        room = bucket(slots)
        self._weights = weights
        self._queue = queue
        self._spare = slots
        with queue.open():
            self._state = SileroState.zeros(slots + 1, device)
            self._frames = torch.zeros(room, FRAME_SAMPLES, device=device)
            self._slots = torch.full((room,), slots, device=device)
            self._probabilities = torch.zeros(room, device=device)
        self._host_frames = host_room((room, FRAME_SAMPLES), torch.float32, device)
        self._host_slots = host_room((room,), torch.int64, device)
        self._host_probabilities = host_room((room,), torch.float32, device)
        self._replays = Replays(queue, self._work, self._blank, slots, graphs=graphs)

    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        n = len(slots)
        size = self._replays.ready(n)
        self._host_frames.numpy()[:n] = frames
        self._host_slots.numpy()[:n] = slots
        self._host_slots.numpy()[n:size] = self._spare
        with self._queue.open():
            self._frames[:n].copy_(self._host_frames[:n], non_blocking=True)
            self._slots[:size].copy_(self._host_slots[:size], non_blocking=True)
            self._replays.run(size)
            self._host_probabilities[:n].copy_(self._probabilities[:n], non_blocking=True)
        self._queue.mark().synchronize()
        return self._host_probabilities.numpy()[:n].copy()

    def forget(self, slots: int | slice) -> None:
        with self._queue.open():
            for part in self._state:
                part[slots].zero_()

    def prepare(self) -> None:
        self._replays.prepare()

    def close(self) -> None:
        self._replays.close()
        self._state = SileroState.zeros(0, self._state.h.device)

    def _work(self, rows: int) -> None:
        self._probabilities[:rows] = _advance(
            self._weights, self._state, self._frames[:rows], self._slots[:rows]
        )

    def _blank(self) -> None:
        self._slots.fill_(self._spare)
