"""When tokens were said: against CTranslate2's own alignment, and by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper_cases import alone, read_phrase

from engine.asr.backend import AsrJob
from engine.asr.words import words_of
from engine.types import Pcm
from engine.whisper.alignment import settled_tokens, token_times
from engine.whisper.backend import TorchWhisper
from engine.whisper.features import features, hear
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest


def _looking_at(positions: list[int], width: int) -> Tensor:
    """Attention of one head, sharply at one position for each token."""
    return torch.nn.functional.one_hot(torch.tensor(positions), width).float()[None]


def test_tokens_that_look_at_the_last_half_second_are_not_settled() -> None:
    looking = _looking_at([5, 20, 40, 30], 100)
    assert settled_tokens(looking, 1.0, unsettled_s=0.5) == 2  # position 25 is 0.5 s
    assert settled_tokens(_looking_at([5, 20, 40, 30], 100), 2.0) == 4
    assert settled_tokens(_looking_at([5, 20], 100), 0.1) == 0
    assert settled_tokens(torch.zeros(2, 0, 100), 1.0) == 0


@settings(deadline=None, max_examples=30)
@given(steps=st.lists(st.integers(8, 30), min_size=2, max_size=8))
def test_times_follow_attention_and_never_go_back(steps: list[int]) -> None:
    places = np.cumsum(steps).tolist()
    width = places[-1] + 10
    distance = torch.arange(width)[None] - torch.tensor(places)[:, None]
    attention = torch.softmax(-distance.abs().float(), -1)[None]
    times = token_times(attention, width * 0.02)
    assert all(a <= b for a, b in pairwise(times))
    for time_s, place in list(zip(times, places, strict=True))[1:]:
        assert abs(time_s - place * 0.02) <= 0.32


def test_words_are_joined_from_their_tokens() -> None:
    texts = {1: " Hel", 2: "lo", 3: " world", 4: ".", 5: "\u4f60", 6: "\u597d"}

    def decode(tokens: list[int]) -> str:
        return "".join(texts[token] for token in tokens)

    words = words_of([1, 2, 3, 4], [0.0, 0.2, 0.5, 0.8, 0.9], decode)
    assert [(w.text, w.start_s, w.end_s) for w in words] == [
        ("Hello", 0.0, 0.5),
        ("world.", 0.5, 0.9),
    ]
    assert [w.text for w in words_of([5, 6], [0.0, 0.1, 0.2], decode)] == ["\u4f60", "\u597d"]


@pytest.mark.models
def test_times_equal_those_of_ctranslate2(
    tiny: WhisperModel, whisper_tiny: Path, english: dict[str, Pcm]
) -> None:
    oracle = ctranslate2.models.Whisper(str(whisper_tiny), compute_type="float32")
    for pcm in english.values():
        mel = features(hear(pcm, 80), 1000)
        with torch.inference_mode():
            states = tiny.encoder(mel[None])[0]
        result = alone(tiny, states, RowRequest(max_tokens=60, align=True))
        assert result.attention is not None
        ours = token_times(result.attention, len(pcm) / 16_000)
        theirs = oracle.align(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T[None].numpy())),
            [tiny.tokens.start],
            [list(result.tokens)],
            [len(pcm) // 160],
        )[0]
        first: dict[int, int] = {}
        for token, position in theirs.alignments:
            first.setdefault(token, position)
        for token, position in first.items():
            assert abs(ours[token] - position * 0.02) <= 0.1


@pytest.mark.models
def test_a_job_that_asks_gets_times(whisper_tiny: Path, phrases: Path) -> None:
    backend = TorchWhisper(whisper_tiny, compute_type="float32", slots=1)
    pcm = read_phrase(phrases, "en/quick_brown_fox")
    asking = AsrJob(1, 0, 0, pcm, True, align=True, attend=True)
    backend.submit([asking, AsrJob(2, 0, 0, pcm, True)])
    heard = []
    while backend.active:
        heard += backend.step()
    asked, plain = heard
    assert plain.token_times == ()
    assert plain.settled is None
    assert len(asked.token_times) == len(asked.tokens) + 1
    words = words_of(asked.tokens, asked.token_times, backend.decode)
    assert [w.text.lower() for w in words][1:4] == ["quick", "brown", "fox"]
    assert 1.9 < words[-1].start_s < 2.2  # where the recording says "dog"
    assert asked.settled is not None
    assert 0 < asked.settled <= len(asked.tokens)


@pytest.mark.models
def test_attention_for_settling_gives_no_times_unless_the_text_is_sparse(
    whisper_tiny: Path, phrases: Path
) -> None:
    """As in CTranslate2: times make a guess one that speech may be cut out of."""
    backend = TorchWhisper(whisper_tiny, compute_type="float32", slots=2)
    pcm = read_phrase(phrases, "en/quick_brown_fox")
    for number, below in enumerate((1, 100)):
        backend.submit([AsrJob(number, 0, 0, pcm, False, attend=True, align_below=below)])
    heard = {}
    while backend.active:
        heard |= {each.job.align_below: each for each in backend.step()}
    assert heard[1].tokens == heard[100].tokens
    assert heard[1].settled == heard[100].settled
    assert heard[1].settled is not None
    assert heard[1].token_times == ()
    assert len(heard[100].token_times) == len(heard[100].tokens) + 1
