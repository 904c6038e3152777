"""Silero VAD for all slots at once: owns every slot's state, one call per 32 ms step."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.errors import ModelError
from engine.types import Pcm
from engine.vad.steps import DirectSteps, QueuedSteps, Steps
from kernels.queues import CudaQueue, Queue
from kernels.silero import FRAME_SAMPLES, SileroWeights, pack_weights

# prefixes of the TorchScript model's tensors, and the names that kernels.silero knows
_PREFIXES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    **{f"encoder.{i}.reparam_conv.": f"conv{i + 1}." for i in range(4)},
    "decoder.rnn.": "lstm_cell.",
    "decoder.decoder.2.": "final_conv.",
}


def _own_name(name: str) -> str:
    for prefix, ours in _PREFIXES.items():
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name


def find_weights() -> Path:
    """The weights that the ``silero-vad`` package ships (found without importing it).

    Raises ``ModelError`` where the package or its file is missing.
    """
    spec = find_spec("silero_vad")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "data", "silero_vad.jit")
        if path.is_file():
            return path
    raise ModelError("the Silero VAD weights are missing: pip install 'silero-vad>=6'")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The 16 kHz network's tensors out of the TorchScript file, under ``WEIGHT_SHAPES``' names.

    The package's safetensors file holds other weights of the same network, whose
    probabilities differ by up to 0.3 on speech, so the TorchScript file is the one to read. Raises
    ``ModelError`` if it is not a Silero VAD.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            model = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            state = model._model.state_dict()
    except (AttributeError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path} does not hold Silero VAD v6 for 16 kHz: {error}") from error
    return {_own_name(name): tensor for name, tensor in state.items()}


def load_weights(path: Path, device: str) -> SileroWeights:
    """Read Silero VAD's weights onto a device. Raises ``ModelError`` if they are not v6's."""
    try:
        return pack_weights(read_tensors(path), device)
    except ValueError as error:
        raise ModelError(f"{path} does not hold Silero VAD v6 for 16 kHz: {error}") from error


class SileroVad:
    """A ``VadModel`` of ``slots`` streams. Belongs to one thread.

    device: a torch device name, such as ``cpu`` or ``cuda``. On CUDA a step is replayed from a
    graph unless ``graphs`` is false; ``queue`` puts another queue in place of a CUDA stream, on a
    CPU as well. Raises ``ModelError`` where the weights cannot be found or read.
    """

    name = "silero-v6"

    def __init__(
        self,
        slots: int,
        device: str = "cpu",
        weights: Path | None = None,
        *,
        graphs: bool = True,
        queue: Queue | None = None,
    ) -> None:
        found, place = load_weights(weights or find_weights(), device), torch.device(device)
        if queue is None and place.type == "cuda":
            queue = CudaQueue(place, urgent=True)
        self._slots = slots
        self._steps: Steps
        if queue is None:
            self._steps = DirectSteps(found, slots, place)
        else:
            self._steps = QueuedSteps(found, slots, place, queue, graphs=graphs)

    @torch.inference_mode()
    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Speech probability of the next 32 ms of each given slot.

        frames: ``[n, 512]`` float32; slots: ``[n]`` int64, distinct. Returns ``[n]`` float32.
        """
        assert frames.shape == (len(slots), FRAME_SAMPLES), frames.shape
        if not len(slots):
            return np.zeros(0, np.float32)
        # Of the calling thread: a step is shorter than it takes to wake a second thread, and takes
        # four to six times as long with one.
        torch.set_num_threads(1)
        return self._steps.step(frames, slots)

    def reset(self, slot: int) -> None:
        """Forget a slot's past (a new tenant, or a new recording)."""
        self._steps.forget(slot)

    def warmup(self) -> None:
        """Make every graph there is, run the smallest and the largest step, and forget them."""
        with torch.inference_mode():
            self._steps.prepare()
        for n in {1, self._slots}:
            self.step(np.zeros((n, FRAME_SAMPLES), np.float32), np.arange(n, dtype=np.int64))
        self._steps.forget(slice(None))

    def close(self) -> None:
        """Let go of the state of all slots; the model cannot be used afterwards."""
        self._steps.close()
