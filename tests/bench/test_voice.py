"""Where the voice ends: real speech with silence of a known length behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.load.speech import Clip, load_english
from benchmarks.load.voice import silences_s


@pytest.mark.models
def test_silence_after_the_voice_is_found(phrases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTIPHON_SPEECH", raising=False)
    spoken = load_english()[0]
    longer = Clip("longer", "", "en", np.append(spoken.pcm, np.zeros(16_000, np.int16)))
    silent = Clip("silent", "", "en", np.zeros(16_000, np.int16))
    as_recorded, with_more, without_voice = silences_s([spoken, longer, silent])
    assert with_more == pytest.approx(as_recorded + 1.0, abs=0.1)
    assert 0.0 <= as_recorded < spoken.seconds / 2
    assert without_voice == 0.0
    assert silences_s([]) == []
