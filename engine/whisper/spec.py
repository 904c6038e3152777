"""What a Whisper model is: its sizes, from the weights, and its token rules, from config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelError
from engine.whisper.weights import Weights

FRAMES_PER_S = 100
"""Log-mel frames in a second (a hop of 160 samples at 16 kHz)."""

FRAMES_PER_POSITION = 2
"""Log-mel frames in one encoder position (the second convolution's stride)."""

MAX_FRAMES = 3000


@dataclass(frozen=True, slots=True)
class WhisperSpec:
    """Sizes, and token ids that may not be chosen.

    ``suppress`` ids are never chosen, ``suppress_begin`` ids not as the first one;
    ``alignment_heads`` are (layer, head) pairs of the decoder whose cross-attention follows time.
    """

    n_mels: int
    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int
    max_positions: int
    max_tokens: int
    suppress: tuple[int, ...] = ()
    suppress_begin: tuple[int, ...] = ()
    language_ids: tuple[int, ...] = ()
    alignment_heads: tuple[tuple[int, int], ...] = ()

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def _layers(weights: Weights, part: str) -> int:
    names = {name.split("/")[1] for name in weights if name.startswith(f"{part}/layer_")}
    return sum(1 for name in names if name.removeprefix("layer_").isdigit())


def read_spec(folder: Path, weights: Weights) -> WhisperSpec:
    """Raises ``ModelError`` if config.json is missing, not JSON, or the weights lack a part."""
    try:
        config = json.loads((folder / "config.json").read_text())
        width, n_mels, _ = weights["encoder/conv1/weight"].shape
        return WhisperSpec(
            n_mels=n_mels,
            width=width,
            heads=int(weights["decoder/num_heads"]),
            encoder_layers=_layers(weights, "encoder"),
            decoder_layers=_layers(weights, "decoder"),
            vocabulary=weights["decoder/embeddings/weight"].shape[0],
            max_positions=weights["encoder/position_encodings/encodings"].shape[0],
            max_tokens=weights["decoder/position_encodings/encodings"].shape[0],
            suppress=tuple(config.get("suppress_ids", ())),
            suppress_begin=tuple(config.get("suppress_ids_begin", ())),
            language_ids=tuple(config.get("lang_ids", ())),
            alignment_heads=tuple((a, b) for a, b in config.get("alignment_heads", ())),
        )
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"{folder} does not hold a Whisper model: {error}") from error
