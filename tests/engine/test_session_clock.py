"""Times are on the client's audio clock: true after 200 turns, pauses, cuts and resampling."""

from __future__ import annotations

import random

import numpy as np
import pytest
from slot_bench import decode

from engine.asr.backend import Hypothesis
from engine.asr.guards import Verdict
from engine.config import EngineSettings
from engine.frames import End
from engine.slot import Slot
from engine.types import (
    SAMPLE_RATE,
    Event,
    Pcm,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    Transcript,
    Word,
)
from engine.work import Submit, Work
from server.media.stream import AudioStream, Declared

FRAME_S = 0.032
PADDING_S = 0.3


class Talker:
    """Speaks tones into a slot, and knows the second of its own audio at which each began.

    Every job is answered at once: one word that lies 0.1 to 0.2 s into the window's speech.
    """

    def __init__(self, endpointing: str = "client", **limits: float) -> None:
        options = SessionOptions(endpointing=endpointing, words=True)  # type: ignore[arg-type]
        self.slot = Slot(0, 0, options, EngineSettings(**limits), decode)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.sent_s = 0.0
        self.began_s: list[float] = []

    def feed(self, pcm: Pcm) -> None:
        for start in range(0, len(pcm), 1600):
            self.slot.put(pcm[start : start + 1600])
            self.pump()

    def sound(self, seconds: float, level: float) -> None:
        self.feed(np.full(round(seconds * SAMPLE_RATE), level, np.float32))
        self.sent_s += round(seconds * SAMPLE_RATE) / SAMPLE_RATE

    def turn(self, silence_s: float, speech_s: float) -> None:
        self.sound(silence_s, 0.0)
        self.began_s.append(self.sent_s)
        self.sound(speech_s, 1.0)

    def end(self) -> None:
        self.slot.put(End())
        self.pump()

    def pump(self) -> None:
        while True:
            _, end = self.slot.take()
            if end is not None:
                self.do(self.slot.end(0.0))
            elif self.slot.frame_ready:
                loud = float(np.abs(self.slot.frame()).max() > 0.5)
                self.do(self.slot.heard(loud, 0.0, False))
            else:
                return

    def do(self, work: Work) -> None:
        self.events += work.events
        for order in work.orders:
            if isinstance(order, Submit):
                heard = Hypothesis(order.job, (1,), " one", "en", token_times=(0.1, 0.2))
                self.do(self.slot.answer(heard, Verdict.KEEP, 0.0))

    def told(self, kind: type[SpeechStarted] | type[SpeechStopped]) -> list[float]:
        return [event.at_s for event in self.events if isinstance(event, kind)]

    def words(self) -> list[Word]:
        return [
            word for event in self.events if isinstance(event, Transcript) for word in event.words
        ]


def lengths(turns: int) -> list[tuple[float, float]]:
    """Odd lengths: nearly every turn ends in the middle of a frame."""
    made = random.Random(1)
    return [(made.uniform(1, 3), made.uniform(0.7, 3)) for _ in range(turns)]


def test_after_200_turns_every_time_is_still_that_of_the_clients_audio() -> None:
    talker = Talker()
    stopped_s = []
    for silence_s, speech_s in lengths(200):
        talker.turn(silence_s, speech_s)
        stopped_s.append(talker.sent_s)
        talker.end()
    began_s = [at_s - PADDING_S for at_s in talker.began_s]
    assert talker.told(SpeechStarted) == pytest.approx(began_s, abs=FRAME_S)
    assert talker.told(SpeechStopped) == pytest.approx(stopped_s, abs=1e-9)
    assert [word.start_s for word in talker.words()] == pytest.approx(
        [at_s + 0.1 for at_s in began_s], abs=FRAME_S
    )
    assert all(word.end_s <= end_s for word, end_s in zip(talker.words(), stopped_s, strict=True))


def test_ends_by_vad_and_by_the_client_and_windows_that_are_cut() -> None:
    talker = Talker("server", window_s=5)
    for turn, (silence_s, speech_s) in enumerate(lengths(60)):
        talker.turn(silence_s, 4 * speech_s)
        if turn % 3 == 0:
            talker.end()
        elif turn % 3 == 1:
            talker.sound(0.7, 0.0)
    began_s = [at_s - PADDING_S for at_s in talker.began_s]
    assert talker.told(SpeechStarted) == pytest.approx(began_s, abs=FRAME_S)
    assert len(talker.words()) > 100  # windows were cut
    assert talker.words()[-1].start_s < talker.sent_s


def test_ends_without_audio_do_not_move_the_clock() -> None:
    talker = Talker()
    for _ in range(50):
        talker.sound(0.001, 0.0)
        talker.end()
        talker.end()
    talker.turn(1.0, 1.0)
    talker.end()
    assert talker.told(SpeechStarted) == pytest.approx([0.05 + 1.0 - PADDING_S], abs=FRAME_S)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_resampled_audio_keeps_the_clients_time(rate_hz: int) -> None:
    talker = Talker()
    stream = AudioStream(Declared("pcm_s16le", rate_hz))
    sent, began_s = 0, []

    def send(seconds: float, level: float) -> None:
        nonlocal sent
        samples = round(seconds * rate_hz)
        sent += samples
        pcm = np.full(samples, round(level * 32000), "<i2").tobytes()
        for start in range(0, len(pcm), 19_998):
            talker.feed(stream.feed(pcm[start : start + 19_998]).pcm)

    for silence_s, speech_s in lengths(200):
        send(silence_s, 0.0)
        began_s.append(sent / rate_hz - PADDING_S)
        send(speech_s, 1.0)
        talker.feed(stream.end_segment().pcm)
        talker.end()
    assert talker.told(SpeechStarted) == pytest.approx(began_s, abs=FRAME_S + 0.005)
