"""Greedy text of real speech against CTranslate2 in float32 with the full 30 s of context.

Every clip of the corpus, and what differs: ``benchmarks/oracle.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor

from benchmarks.oracle import NEAR_TIE, Pair
from benchmarks.whisper import read
from engine.whisper.row import RowRequest

pytestmark = [pytest.mark.models, pytest.mark.speech]

_EVERY = 20
_MAX_TOKENS = 120


@pytest.fixture(scope="module")
def pair(whisper_tiny: Path) -> Pair:
    return Pair(whisper_tiny)


@pytest.fixture(scope="module")
def clips(speech: Path) -> list[Path]:
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    english = [c["audio"] for c in lines if c["lang"] == "en" and c["seconds"] < 29]
    return [speech / name for name in english[::_EVERY]]


@pytest.fixture(scope="module")
def encoded(pair: Pair, clips: list[Path]) -> list[tuple[Tensor, Tensor]]:
    """Features and our encoder's states of each clip."""
    return [pair.encode(read(clip)) for clip in clips]


@pytest.mark.parametrize("timestamps", [False, True])
def test_the_text_equals_that_of_ctranslate2(
    pair: Pair, encoded: list[tuple[Tensor, Tensor]], timestamps: bool
) -> None:
    """Token for token, up to a near-tie in one clip at most."""
    assert len(encoded) >= 3
    opening = pair.ours.tokens.opening("en", timestamps=timestamps)
    differing = 0
    for mel, states in encoded:
        theirs = pair.expect(mel, opening, _MAX_TOKENS)
        ours = pair.decode(states, RowRequest(_MAX_TOKENS, timestamps=timestamps))
        found = pair.difference(states, opening, list(ours.tokens), list(theirs.sequences_ids[0]))
        assert found is None or found.gap < NEAR_TIE
        differing += found is not None
        assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-3)
    assert differing <= 1


def test_a_wrong_token_is_no_near_tie(pair: Pair, encoded: list[tuple[Tensor, Tensor]]) -> None:
    opening = pair.ours.tokens.opening("en")
    states = encoded[0][1]
    tokens = list(pair.decode(states, RowRequest(_MAX_TOKENS)).tokens)
    assert pair.difference(states, opening, tokens, tokens) is None
    for place in range(0, len(tokens), 3):
        wrong = [*tokens[:place], tokens[place] + 1, *tokens[place + 1 :]]
        found = pair.difference(states, opening, tokens, wrong)
        assert found is not None
        assert found.position == place
        assert found.gap > NEAR_TIE
    short = pair.difference(states, opening, tokens, tokens[:-1])
    assert short is not None
    assert short.position == len(tokens) - 1
    assert short.gap > NEAR_TIE
