"""The least work, against what is known of Whisper base."""

from __future__ import annotations

import pytest

from benchmarks.least_work import Shapes, decoder_bytes, decoder_flop, encoder_flop, least

BASE = Shapes(width=512, encoder_layers=6, decoder_layers=6, mels=80, words=51865)


def test_a_full_window_of_the_encoder() -> None:
    # 1,500 positions: 2 * 18.9 M weights each, attention over all pairs, and two convolutions.
    matrices = 1500 * 2 * 6 * 12 * 512**2
    attention = 6 * 4 * 1500**2 * 512
    convolutions = 2 * 1500 * 3 * 512 * (2 * 80 + 512)
    assert encoder_flop(BASE, 1500) == matrices + attention + convolutions


def test_a_token_needs_every_weight_of_the_decoder_once() -> None:
    weights = 6 * 14 * 512**2 + 512 * 51865
    assert decoder_bytes(BASE, tokens=3, bytes_per_weight=2) == 6 * weights
    one = decoder_flop(BASE, 250, 11) - decoder_flop(BASE, 250, 10)
    assert one == pytest.approx(2 * weights, rel=0.05)


def test_a_second_costs_more_in_a_longer_utterance() -> None:
    short, long = least(BASE, 2.0), least(BASE, 20.0)
    assert long["encoder_gflop_per_s"] > short["encoder_gflop_per_s"]
    assert long["decoder_gbyte_per_s_int8"] == pytest.approx(short["decoder_gbyte_per_s_int8"])
