"""The choice of a token: Whisper's rules, ties that bfloat16 hides, and sampling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.whisper.pick import Pick, RowRule, TokenPicker, plain_rule, timestamp_rule
from engine.whisper.spec import WhisperSpec, read_spec
from engine.whisper.tokenizer import WhisperTokenizer
from engine.whisper.weights import read_model_bin

pytestmark = pytest.mark.models

CPU = torch.device("cpu")
BEGIN = 50_364


@pytest.fixture(scope="module")
def tokens(whisper_base: Path) -> WhisperTokenizer:
    return WhisperTokenizer(whisper_base)


@pytest.fixture(scope="module")
def spec(whisper_base: Path) -> WhisperSpec:
    return read_spec(whisper_base, read_model_bin(whisper_base / "model.bin"))


def test_timestamp_rules(tokens: WhisperTokenizer) -> None:
    def rule(*said: int) -> tuple[int, int, int]:
        return timestamp_rule(said, tokens, 51_865)[1:]

    assert tokens.timestamp_begin == BEGIN
    assert rule() == (BEGIN, BEGIN, BEGIN + 51)
    assert rule(BEGIN) == (0, 0, 0)  # after one that opens, text
    assert rule(BEGIN, 400) == (0, BEGIN + 1, 51_865)  # text, or a later time
    assert rule(BEGIN, 400, BEGIN + 9) == (tokens.end_of_text, BEGIN + 9, 51_865)  # its pair
    assert rule(BEGIN, 400, BEGIN + 9, BEGIN + 9) == (0, 0, 0)


def test_the_cpu_way_equals_the_reference(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(spec.vocabulary, 8)
    hidden = torch.randn(6, 8)
    logits = hidden @ embeddings.T
    picker = TokenPicker(spec, tokens, embeddings, torch.float32, CPU)
    rules = [RowRule(plain_rule(i % 2)) for i in range(6)]
    picks = picker(hidden, logits, rules)
    reference = picker._ruled(logits, rules)
    assert [p.token for p in picks] == [p.token for p in reference]
    for ours, theirs in zip(picks, reference, strict=True):
        assert ours.log_probability == pytest.approx(theirs.log_probability, abs=1e-5)


def test_suppressed_tokens_are_never_chosen(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    hidden, embeddings = torch.zeros(2, 4), torch.zeros(spec.vocabulary, 4)
    logits = torch.zeros(2, spec.vocabulary)
    logits[:, [*spec.suppress, tokens.no_timestamps, BEGIN + 3]] = 9
    logits[:, tokens.end_of_text] = 5
    logits[:, 777] = 4
    picker = TokenPicker(spec, tokens, embeddings, torch.float32, CPU)
    first, later = picker(hidden, logits, [RowRule(plain_rule(0)), RowRule(plain_rule(1))])
    assert first.token == 777  # a transcript does not begin with its end
    assert later.token == tokens.end_of_text


def test_bfloat16_ties_are_decided_in_float32(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    torch.manual_seed(1)
    embeddings = (torch.randn(spec.vocabulary, 64) * 0.5).half()
    hidden = torch.randn(40, 64) * 2
    # three close candidates a row: the float32 score tells which is best
    for row in range(40):
        ids = 1000 + 3 * row + torch.arange(3)
        embeddings[ids] = (hidden[row] * (2 + 0.01 * torch.randn(3, 1))).half()
    exact = hidden @ embeddings.float().T
    coarse = hidden.bfloat16() @ embeddings.bfloat16().T
    picker = TokenPicker(spec, tokens, embeddings, torch.bfloat16, CPU)
    rules = [RowRule(plain_rule(1))] * 40
    picked = [pick.token for pick in picker(hidden, coarse, rules)]
    assert picked == exact.argmax(1).tolist()
    assert picked != coarse.argmax(1).tolist()  # else this test could not fail


def test_sampling_follows_the_distribution(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    logits = torch.full((1, spec.vocabulary), -50.0)
    logits[0, 1000], logits[0, 2000] = 1.0, 0.0
    picker = TokenPicker(spec, tokens, torch.zeros(spec.vocabulary, 4), torch.float32, CPU)
    rule = RowRule(plain_rule(1), 0.5, torch.Generator().manual_seed(3))
    picks = [picker(torch.zeros(1, 4), logits, [rule])[0] for _ in range(40)]
    share = sum(pick.token == 1000 for pick in picks) / len(picks)
    assert 0.7 < share < 1  # softmax([2, 0]) gives 0.88
    likely = next(pick for pick in picks if pick.token == 1000)
    assert likely.log_probability == pytest.approx(-0.3133, abs=1e-3)  # at temperature 1
    again = replace(rule, generator=torch.Generator().manual_seed(3))
    repeated = [picker(torch.zeros(1, 4), logits, [again])[0] for _ in range(5)]
    assert [Pick(p.token, p.log_probability) for p in repeated] == picks[:5]
