"""Settings of the engine, with the limits that keep it bounded (see docs/LIMITS.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


def default_home() -> Path:
    """Where models are kept: the user's cache folder."""
    import os

    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "antiphon"


class EngineSettings(BaseModel):
    """Everything the engine can be told. Names end in their unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default_factory=default_home, description="folder of models")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where models run")
    threads: int = Field(0, ge=0, le=256, description="CPU threads of each model; 0: all cores")

    asr: Literal["ctranslate2", "torch"] = Field("ctranslate2", description="what runs Whisper")
    asr_model: str = Field("base", description="Whisper model: a name, a folder or a hub name")
    asr_compute_type: str = Field("auto", description="number type; auto: the device's best")
    asr_batch_size: int = Field(16, ge=1, le=512, description="segments in one speech batch")
    partial_interval_s: float = Field(
        0.6, ge=0.1, le=10, description="new speech before the next partial transcript"
    )
    settle: Literal["agreement", "attention"] = Field(
        "agreement", description="what settles words of a partial transcript (attention: torch)"
    )
    window_s: float = Field(28.0, ge=5, le=29, description="longest speech in one Whisper window")

    vad_threshold: float = Field(0.5, gt=0, lt=1, description="speech probability that counts")
    vad_min_speech_ms: int = Field(192, ge=32, le=5000, description="shorter sounds are not speech")
    vad_min_silence_ms: int = Field(500, ge=64, le=10000, description="silence that ends speech")
    vad_padding_ms: int = Field(300, ge=0, le=2000, description="audio kept around speech")

    llm: Literal["llamacpp", "exllamav2", "echo"] = Field("llamacpp", description="what answers")
    llm_model: str = Field(
        "smollm2-135m-instruct", description="LLM: a name or GGUF file; exllamav2: a folder"
    )
    llm_slots: int = Field(4, ge=1, le=256, description="replies generated at the same time")
    llm_context_tokens: int = Field(2048, ge=256, le=131072, description="context of one slot")
    llm_max_tokens: int = Field(128, ge=1, le=8192, description="longest reply")
    llm_queue: int = Field(64, ge=1, le=10000, description="replies that may wait for a slot")
    llm_temperature: float = Field(0.0, ge=0, le=2, description="0: always the likeliest token")
    llm_timeout_s: float = Field(60.0, gt=0, le=3600, description="longest time for one reply")
    system: str = Field(
        "You are a helpful assistant in a spoken conversation. Keep your answers short.",
        description="system prompt",
    )

    max_sessions: int = Field(64, ge=1, le=100000, description="sessions at the same time")
    max_lag_s: float = Field(5.0, gt=0, le=600, description="speech lag that refuses new sessions")
    max_buffered_s: float = Field(
        60.0, ge=5, le=3600, description="un-decoded audio of a session before TCP pushes back"
    )
    segment_timeout_s: float = Field(
        60.0, gt=0, le=3600, description="longest time from a segment's end to its transcript"
    )
