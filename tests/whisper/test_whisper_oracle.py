"""Greedy text of real speech against CTranslate2 in float32 with the full 30 s of context."""

from __future__ import annotations

import json
from pathlib import Path

import av
import ctranslate2
import numpy as np
import pytest
import torch
from whisper_cases import alone

from engine.asr.guards import repeats
from engine.types import Pcm
from engine.whisper.features import features, hear
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest

pytestmark = [pytest.mark.models, pytest.mark.speech]

_EVERY = 20


def _read(path: Path) -> Pcm:
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
    samples = np.concatenate(frames, axis=1)[0]
    scale = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max + 1
    return (samples / scale).astype(np.float32)


@pytest.mark.parametrize("timestamps", [False, True])
def test_the_text_equals_that_of_ctranslate2(
    tiny: WhisperModel, whisper_tiny: Path, speech: Path, timestamps: bool
) -> None:
    """Token for token.

    A loop is cut short here and not there, so that it is compared up to where it was cut.
    """
    oracle = ctranslate2.models.Whisper(str(whisper_tiny), compute_type="float32")
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    clips = [c["audio"] for c in lines if c["lang"] == "en" and c["seconds"] < 29][::_EVERY]
    assert len(clips) >= 3
    prompt = tiny.tokens.opening("en", timestamps=timestamps)
    for clip in clips:
        mel = features(hear(_read(speech / clip), 80), 3000)
        batch = np.ascontiguousarray(mel.T[None].numpy())
        theirs = oracle.generate(
            ctranslate2.StorageView.from_array(batch),
            [prompt],
            beam_size=1,
            max_length=len(prompt) + 120,
            return_no_speech_prob=True,
        )[0]
        with torch.inference_mode():
            states = tiny.encoder(mel[None])[0]
        ours = alone(tiny, states, RowRequest(max_tokens=120, timestamps=timestamps))
        expected = theirs.sequences_ids[0]
        if repeats(ours.tokens):
            expected = expected[: len(ours.tokens)]
        assert list(ours.tokens) == expected, clip
        assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-3)
