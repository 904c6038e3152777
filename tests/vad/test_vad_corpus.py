"""The network and the endpointer together on labelled recordings."""

from __future__ import annotations

import os

import numpy as np
import pytest
from signals import FRAME, as_frames, corpus

from engine.types import Pcm
from engine.vad.endpointer import Endpointer, EndpointerConfig, Stopped
from engine.vad.silero import SileroVad

pytestmark = [
    pytest.mark.speech,
    pytest.mark.skipif(
        "ANTIPHON_SPEECH" not in os.environ, reason="needs the corpus of ANTIPHON_SPEECH"
    ),
]


def spans(vad: SileroVad, pcm: Pcm) -> list[Stopped]:
    vad.reset(0)
    endpointer = Endpointer(EndpointerConfig())
    events = [
        endpointer.push(float(vad.step(frame[None], np.array([0]))[0])) for frame in as_frames(pcm)
    ]
    return [event for event in [*events, endpointer.flush()] if isinstance(event, Stopped)]


def test_labelled_speech_is_found() -> None:
    vad = SileroVad(1)
    speech = missed = silence = false_alarms = 0
    for pcm, line in corpus("vad"):
        if "speech_segments" not in line:
            continue
        middles = np.arange(len(pcm) // FRAME) * FRAME + FRAME // 2
        said, found = np.zeros(len(middles), bool), np.zeros(len(middles), bool)
        for start_s, end_s, _ in line["speech_segments"]:
            said |= (middles >= start_s * 16_000) & (middles < end_s * 16_000)
        for span in spans(vad, pcm):
            found |= (middles >= span.start_sample) & (middles < span.at_sample)
        speech, missed = speech + said.sum(), missed + (said & ~found).sum()
        silence, false_alarms = silence + (~said).sum(), false_alarms + (found & ~said).sum()
    print(f"frames missed {missed / speech:.3f}, false alarms {false_alarms / silence:.3f}")
    assert missed / speech < 0.2
    assert false_alarms / silence < 0.1


def test_noise_and_music_are_not_speech() -> None:
    vad = SileroVad(1)
    heard = {line["audio"] for pcm, line in corpus("nonspeech") if spans(vad, pcm)}
    assert heard == set()


def test_every_short_question_is_heard() -> None:
    vad = SileroVad(1)
    lost = {line["audio"] for pcm, line in corpus("questions") if not spans(vad, pcm)}
    assert lost == set()
