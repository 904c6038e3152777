"""The engine in this process: three lanes and the way between them."""

from __future__ import annotations

import logging
import time
from itertools import count

import numpy as np
import torch

from engine import metrics
from engine.admission import Admission
from engine.asr.backend import AsrBackend, AsrJob
from engine.asr.load import load as load_asr
from engine.asr_lane import AsrLane
from engine.client import Deliver
from engine.config import EngineSettings
from engine.errors import ModelError, Overloaded
from engine.llm.load import load as load_llm
from engine.llm_lane import LlmLane
from engine.preflight import check_models
from engine.processor import processor
from engine.speech_lane import SpeechLane
from engine.types import (
    SAMPLE_RATE,
    AssumedAfter,
    AudioChunk,
    Cancel,
    CloseSlot,
    EndSegment,
    GenerateRequest,
    OpenSlot,
    Pcm,
    SessionOptions,
)
from engine.vad.silero import SileroVad

log = logging.getLogger(__name__)

_RETRY_AFTER_MS = 2000
_RETRY_WHEN_FULL_MS = 5000
_CALIBRATION_S = 6
_SPEECH_OVER_NOISE = 1.7  # what a final of speech takes, in finals of noise: it has more words


class Engine:
    """An ``EngineClient``: models in this process, on threads of their own."""

    def __init__(self, settings: EngineSettings, deliver: Deliver) -> None:
        self._settings = settings
        self._deliver = deliver
        self._keys = count()
        self._open: set[int] = set()
        self._admission = Admission(settings.latency_target_s)
        self._started = False
        self.asr_name = settings.asr_model
        self._llm = LlmLane(lambda wake: load_llm(settings, wake), settings, deliver)

    @property
    def llm_name(self) -> str:
        """A remote server's model is known when the server answers."""
        return self._llm.name

    @property
    def ready(self) -> bool:
        """Models are loaded and warm, and every lane is alive."""
        return self._started and self.problem is None

    @property
    def problem(self) -> str | None:
        """Why the engine is not ready; None if nothing is wrong."""
        if not self._started:
            return None
        if (hearing := self._speech.problem or self._asr.problem) is not None:
            return hearing
        return self._llm.problem if self._settings.llm_outage == "refuse" else self._llm.dead

    @property
    def degraded(self) -> str | None:
        """What does not work, though conversations may begin."""
        if not self._started or self.problem is not None:
            return None
        return self._llm.problem

    @property
    def dead(self) -> str | None:
        """What has broken for good: only a new process mends it."""
        if not self._started:
            return None
        return self._speech.dead or self._asr.dead or self._llm.dead

    @property
    def lag_s(self) -> float:
        """How far behind speech is: finals without a result, commands behind a long step."""
        return max(self._asr.lag_s, self._speech.lag_s) if self._started else 0.0

    def start(self) -> None:
        """Load and warm the models; blocks for seconds. Raises ``ModelError``."""
        device = pick_device(self._settings.device)
        if device == "cpu":
            log.info("%s", processor().describe())
        check_models(self._settings)
        self._llm.begin()
        backend = load_asr(self._settings, device)
        vad = SileroVad(self._settings.max_sessions, device)
        self._speech = SpeechLane(vad, backend.decode, self._settings, self._deliver)
        self._asr = AsrLane(
            backend,
            self._speech.answer,
            step_limit_s=self._settings.step_timeout_s,
            on_death=self._speech.stop,
            admission=self._admission,
        )
        metrics.watch_lag(self)
        metrics.watch_admission(self._admission)
        for model in (backend, vad):
            started = time.monotonic()
            model.warmup()
            log.info("%s is warm after %.1f s", model.name, time.monotonic() - started)
        self._calibrate(backend)
        self._llm.wait_ready()
        self._asr.start()
        self._speech.start(self._asr)
        self.asr_name = backend.name
        self._started = True

    def open(self, options: SessionOptions) -> int:
        """Reserve a slot and return its key. Raises ``Overloaded``."""
        limit, lag = self._settings.max_sessions, self.lag_s
        if len(self._open) >= limit:
            raise Overloaded(f"All {limit} places are taken.", _RETRY_AFTER_MS)
        if stalled := self._speech.stalled or self._asr.stalled:
            raise Overloaded(f"Nobody can be heard now: {stalled}.", _RETRY_AFTER_MS)
        if lag > self._settings.max_lag_s:
            raise Overloaded(f"Speech waits {lag:.1f} s already.", round(lag * 1000))
        if not self._admission.has_room():
            raise Overloaded(
                "With one more session, transcripts would take longer than "
                f"{self._settings.latency_target_s:g} s.",
                _RETRY_WHEN_FULL_MS,
            )
        return self._begin(options)

    def _calibrate(self, backend: AsrBackend) -> None:
        """Time a final alone, for the estimate of what can be carried to begin with."""
        noise = np.random.default_rng(0).normal(0, 0.01, _CALIBRATION_S * SAMPLE_RATE)
        job = AsrJob(-1, 0, 0, noise.astype(np.float32), is_final=True, language="en")
        for _ in range(2):  # the first sets up shapes
            began = time.monotonic()
            backend.submit([job])
            while backend.active:
                backend.step()
            spent_s = time.monotonic() - began
        backend.cancel(-1, 0)
        self._admission.calibrate(_SPEECH_OVER_NOISE * spent_s, _CALIBRATION_S)
        log.info("%d s of noise are transcribed in %.0f ms", _CALIBRATION_S, 1e3 * spent_s)

    def reopen(self, key: int, options: SessionOptions) -> int:
        """Pass a slot on to a new opening: no admission is asked for."""
        assert key in self._open, "only an open slot can be passed on"
        self.close_session(key)
        return self._begin(options)

    def _begin(self, options: SessionOptions) -> int:
        key = next(self._keys)
        self._open.add(key)
        self._admission.opened(key)
        metrics.SESSIONS.set(len(self._open))
        self._speech.post(OpenSlot(key, options))
        return key

    def feed(self, key: int, pcm: Pcm) -> None:
        """Give a session's audio; it comes back in ``AudioConsumed`` events."""
        self._speech.post(AudioChunk(key, pcm))

    def end_segment(self, key: int) -> None:
        """End the session's segment: one final ``Transcript`` or ``Failure`` follows."""
        self._speech.post(EndSegment(key))

    def generate(self, request: GenerateRequest) -> None:
        """Ask for a reply. Raises ``Overloaded``, ``LlmFailed``."""
        self._llm.submit(request)

    def anticipate(self, request: GenerateRequest, after: AssumedAfter = "pause") -> None:
        """Begin a reply before it is asked for, or its prompt, as far as speech leaves room."""
        if self._settings.early_start and not self._asr.finals_wait:
            self._llm.anticipate(request, after, self._asr.idle)

    def withdraw(self, key: int, turn_id: int) -> None:
        """Forget what was anticipated."""
        self._llm.withdraw(key, turn_id)

    def cancel(self, key: int, turn_id: int) -> None:
        """Stop whatever is being done for a turn."""
        self._speech.post(Cancel(key, turn_id))
        self._llm.cancel(key, turn_id)

    def close_session(self, key: int) -> None:
        """Free the slot; idempotent."""
        if key in self._open:
            self._open.discard(key)
            self._admission.closed(key)
            metrics.SESSIONS.set(len(self._open))
            self._speech.post(CloseSlot(key))
            self._llm.forget(key)

    def close(self) -> None:
        """Stop the lanes and free the models."""
        self._llm.close()
        if self._started:
            self._speech.close()
            self._asr.close()


def pick_device(wanted: str) -> str:
    """``auto`` is CUDA where it works. Raises ``ModelError`` where CUDA is asked for in vain."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ModelError("no CUDA device is available: use --device cpu, or check nvidia-smi")
    return "cuda" if available and wanted != "cpu" else "cpu"
