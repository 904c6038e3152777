"""Speech of known text, read from disk, and what a model hears in it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from engine.asr.backend import AsrBackend, AsrJob, Hypothesis
from engine.types import Pcm
from server.audio_file import read_pcm


def read(folder: Path, name: str) -> Pcm:
    """Mono float32 at 16 kHz of ``folder/name.wav``."""
    return read_clip(folder / f"{name}.wav")


def said(text: str) -> set[str]:
    """The words of a text, without case and punctuation."""
    return set(re.findall(r"\w+", text.lower()))


def read_clip(path: Path) -> Pcm:
    """A recording as mono float32 at 16 kHz."""
    return np.frombuffer(b"".join(read_pcm(path)), "<i2").astype(np.float32) / 32768


def hear(backend: AsrBackend, *jobs: AsrJob) -> list[Hypothesis]:
    """What the model makes of ``jobs``, which it has all at once, in their order."""
    backend.submit(jobs)
    heard: list[Hypothesis] = []
    while backend.active:
        heard += backend.step()
    by_job = {id(hypothesis.job): hypothesis for hypothesis in heard}
    return [by_job[id(job)] for job in jobs]
