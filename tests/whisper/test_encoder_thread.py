"""The encoder beside the decoder on a CPU: who goes first, where it runs, and what fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from patience import PATIENCE_S, wait_until
from torch import Tensor

from engine.whisper.encoder_thread import EncoderThread, ThreadedEncoding

LAYERS = 3


class FakeEncoder:
    """Each layer notes whose it was and which thread ran it; ``gate`` may hold it up."""

    def __init__(self) -> None:
        self.ran: list[tuple[int, str]] = []
        self.fails: Exception | None = None
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def begin(self, mel: Tensor) -> FakePass:
        return FakePass(self, mel)


class FakePass:
    def __init__(self, encoder: FakeEncoder, mel: Tensor) -> None:
        self.encoder, self.mel, self.left = encoder, mel, LAYERS

    def advance(self) -> bool:
        encoder = self.encoder
        encoder.entered.set()
        assert encoder.gate.wait(PATIENCE_S)
        if encoder.fails is not None:
            raise encoder.fails
        encoder.ran.append((int(self.mel[0, 0, 0]), threading.current_thread().name))
        self.left -= 1
        return self.left > 0

    def finish(self) -> Tensor:
        return self.mel[0] + 1


class Line(EncoderThread):
    """Runs passes of a fake encoder."""

    def __init__(self, encoder: FakeEncoder) -> None:
        super().__init__(threads=2)
        self.encoder = encoder


def begin(line: Line, name: int, *, urgent: bool = False) -> ThreadedEncoding:
    mel = torch.full((1, 2, 4), float(name))
    return line.begin(lambda: line.encoder.begin(mel), urgent=urgent)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def line(encoder: FakeEncoder) -> Iterator[Line]:
    threads = torch.get_num_threads()
    made = Line(encoder)
    yield made
    encoder.gate.set()
    made.close()
    torch.set_num_threads(threads)


def test_at_rest_the_decoders_thread_runs_a_layer_a_call(line: Line, encoder: FakeEncoder) -> None:
    encoding = begin(line, 7)
    for layers in range(1, LAYERS + 1):
        assert encoding.advance()
        encoding.wait()
        assert len(encoder.ran) == layers
    assert not encoding.advance()
    assert encoding.spent_s > 0
    assert encoding.finish()[0].tolist() == [[8.0] * 4] * 2
    assert {name for _, name in encoder.ran} == {threading.current_thread().name}


def test_while_the_decoder_works_another_thread_encodes(line: Line, encoder: FakeEncoder) -> None:
    encoding = begin(line, 7)
    line.go_beside(True)
    wait_until(lambda: not encoding.advance())
    assert {name for _, name in encoder.ran} == {"asr-encoder"}
    line.go_beside(False)
    other = begin(line, 8)
    other.wait()
    assert encoder.ran[-1] == (8, threading.current_thread().name)


def test_a_final_goes_first_at_the_next_layer(line: Line, encoder: FakeEncoder) -> None:
    partial = begin(line, 1)
    partial.wait()
    final = begin(line, 2, urgent=True)
    while partial.advance():
        partial.wait()
    assert not final.advance()
    assert [name for name, _ in encoder.ran] == [1, *[2] * LAYERS, 1, 1]


def test_a_partial_that_becomes_a_final_goes_first_at_the_next_layer(
    line: Line, encoder: FakeEncoder
) -> None:
    first, guess = begin(line, 1), begin(line, 2)
    first.wait()
    guess.hurry()
    while first.advance():
        first.wait()
    assert not guess.advance()
    assert [name for name, _ in encoder.ran] == [1, *[2] * LAYERS, 1, 1]


def test_help_waits_for_the_layer_at_work(line: Line, encoder: FakeEncoder) -> None:
    encoder.gate.clear()
    encoding = begin(line, 1)
    line.go_beside(True)
    assert encoder.entered.wait(PATIENCE_S)
    line.go_beside(False)
    threading.Timer(0.05, encoder.gate.set).start()
    encoding.wait()
    assert encoder.ran == [(1, "asr-encoder")]
    encoding.wait()
    assert encoder.ran[1:] == [(1, threading.current_thread().name)]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TypeError("a mistake")])
def test_what_fails_is_told_to_who_asks_and_the_next_goes_on(
    line: Line, encoder: FakeEncoder, error: Exception
) -> None:
    encoder.fails = error
    bad = begin(line, 1)
    line.go_beside(True)
    with pytest.raises(RuntimeError, match=str(error)):
        wait_until(lambda: not bad.advance())
    encoder.fails = None
    good = begin(line, 2)
    wait_until(lambda: not good.advance())


def test_what_nobody_wants_is_not_run(line: Line, encoder: FakeEncoder) -> None:
    unwanted, wanted = begin(line, 1, urgent=True), begin(line, 2)
    unwanted.wait()
    unwanted.drop()
    unwanted.drop()
    while wanted.advance():
        wanted.wait()
    assert [name for name, _ in encoder.ran] == [1, *[2] * LAYERS]
    wanted.wait()  # nothing is in line: it does not wait
