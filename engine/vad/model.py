"""The seam for voice activity models."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.types import Pcm


class VadModel(Protocol):
    """One network, the state of many streams; row ``i`` of every call is slot ``i``."""

    name: str

    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Speech probability of the next 32 ms of each given slot.

        frames: ``[n, 512]`` float32; slots: ``[n]`` int64, distinct. Returns ``[n]`` float32.
        """
        ...

    def reset(self, slot: int) -> None:
        """Forget a slot's past (a new tenant, or a new recording)."""
        ...

    def warmup(self) -> None: ...

    def close(self) -> None: ...
