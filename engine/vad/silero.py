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
from kernels.silero import FRAME_SAMPLES, SileroState, SileroWeights, pack_weights, silero_step

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

    device: a torch device name, such as ``cpu`` or ``cuda``. Raises ``ModelError`` where the
    weights cannot be found or read.
    """

    name = "silero-v6"

    def __init__(self, slots: int, device: str = "cpu", weights: Path | None = None) -> None:
        self._device = torch.device(device)
        self._weights = load_weights(weights or find_weights(), device)
        self._state = SileroState.zeros(slots, device)

    @torch.inference_mode()
    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Speech probability of the next 32 ms of each given slot.

        frames: ``[n, 512]`` float32; slots: ``[n]`` int64, distinct. Returns ``[n]`` float32.
        """
        assert frames.shape == (len(slots), FRAME_SAMPLES), frames.shape
        if not len(slots):
            return np.zeros(0, np.float32)
        # torch cannot share memory that NumPy holds read-only, so such frames are copied
        writeable = np.require(frames, np.float32, ["C", "W"])
        audio = torch.from_numpy(writeable).to(self._device)
        index = torch.from_numpy(np.ascontiguousarray(slots, np.int64)).to(self._device)
        before = SileroState(*(part.index_select(0, index) for part in self._state))
        probability, after = silero_step(self._weights, audio, before)
        for whole, part in zip(self._state, after, strict=True):
            whole.index_copy_(0, index, part)
        result: npt.NDArray[np.float32] = probability.cpu().numpy()
        return result

    def reset(self, slot: int) -> None:
        """Forget a slot's past (a new tenant, or a new recording)."""
        for part in self._state:
            part[slot].zero_()

    def warmup(self) -> None:
        """Run the smallest and the largest step, then forget them."""
        capacity = self._state.h.shape[0]
        for n in {1, capacity}:
            self.step(np.zeros((n, FRAME_SAMPLES), np.float32), np.arange(n, dtype=np.int64))
        for part in self._state:
            part.zero_()

    def close(self) -> None:
        """Let go of the state of all slots; the model cannot be used afterwards."""
        self._state = SileroState.zeros(0, self._device)
