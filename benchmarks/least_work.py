"""The least work that a Whisper model's answer needs, counted from its shapes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

POSITIONS_PER_S = 50
TOKENS_PER_S = 4.0
"""Of English speech: about three words."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of a Whisper model."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mels: int
    words: int


def encoder_flop(model: Shapes, positions: int) -> float:
    """Multiplications and additions of one pass over so many positions (20 ms each)."""
    convolutions = 2 * positions * 3 * model.width * (2 * model.mels + model.width)
    matrices = 2 * positions * 12 * model.width**2
    attention = 4 * positions**2 * model.width
    return float(convolutions + model.encoder_layers * (matrices + attention))


def decoder_flop(model: Shapes, positions: int, tokens: int) -> float:
    """Of ``tokens`` tokens, each looked up once, over an encoded segment."""
    keys_and_values = 2 * positions * 2 * model.width**2
    matrices = 2 * 14 * model.width**2
    attention = 4 * (positions + tokens) * model.width
    head = 2 * model.width * model.words
    each = model.decoder_layers * (matrices + attention) + head
    return float(model.decoder_layers * keys_and_values + tokens * each)


def decoder_bytes(model: Shapes, tokens: int, bytes_per_weight: int) -> float:
    """Of weights, read anew for each token, as long as no other stream shares the pass."""
    weights = model.decoder_layers * 14 * model.width**2 + model.width * model.words
    return float(tokens * weights * bytes_per_weight)


def least(model: Shapes, utterance_s: float = 6.0) -> dict[str, float]:
    """What a second of speech needs if each is encoded once, without padding or partials."""
    positions = int(utterance_s * POSITIONS_PER_S)
    tokens = int(utterance_s * TOKENS_PER_S)
    return {
        "utterance_s": utterance_s,
        "tokens_per_s": TOKENS_PER_S,
        "encoder_gflop_per_s": encoder_flop(model, positions) / utterance_s / 1e9,
        "decoder_gflop_per_s": decoder_flop(model, positions, tokens) / utterance_s / 1e9,
        "decoder_gbyte_per_s_int8": decoder_bytes(model, tokens, 1) / utterance_s / 1e9,
    }
