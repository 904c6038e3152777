"""Sizes of the Whisper models that are measured."""

from __future__ import annotations

from dataclasses import dataclass

_SPECIAL = 2 + 6 + 1501
"""End of text and start of transcript; two tasks, language model, earlier text, no speech, no
timestamps; then the timestamps."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the speed of a Whisper model depends on; its heads are 64 wide."""

    name: str
    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    mels: int
    text_tokens: int
    languages: int
    positions: int = 1500
    tokens: int = 448

    @property
    def vocabulary(self) -> int:
        return self.text_tokens + self.languages + _SPECIAL


# OpenAI's published configurations
BASE = ModelShape("base", 512, 8, 6, 6, 80, 50_257, 99)
TURBO = ModelShape("large-v3-turbo", 1280, 20, 32, 4, 128, 50_257, 100)
SMALL = ModelShape("two-layers", 128, 2, 2, 2, 80, 1_000, 3)
"""For a machine without a GPU: to run through, not to be measured."""

SHAPES = {shape.name: shape for shape in (BASE, TURBO, SMALL)}
