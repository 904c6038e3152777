"""Settings of the engine, with the limits that keep it bounded (see docs/LIMITS.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.processor import Isa

_EMBEDDED = "smollm2-135m-instruct"
_FIRST = "auto"
# What every request to a remote server says by itself, from settings and sessions.
_OWN_FIELDS = {
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop",
    "seed", "stream", "stream_options",
}  # fmt: skip


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
    isa: Isa = Field(
        "native",
        description="instructions that the CPU libraries may use: native: all; avx512: neither "
        "bfloat16 nor AMX; avx2: to see how a poorer machine would do",
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads of each model; 0: all cores")

    asr: Literal["auto", "torch", "ctranslate2"] = Field(
        "auto", description="what runs Whisper; auto: torch on a CPU, CTranslate2 on CUDA"
    )
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

    llm: Literal["llamacpp", "exllamav2", "openai", "echo"] = Field(
        "llamacpp", description="what answers"
    )
    llm_model: str = Field(
        default_factory=lambda given: _FIRST if given.get("llm") == "openai" else _EMBEDDED,
        description="LLM: a name or a GGUF file; exllamav2: a folder; with openai the server's "
        f"name for it, or {_FIRST}: what the server lists first",
    )
    llm_url: str | None = Field(
        None, description="OpenAI-compatible server, e.g. http://127.0.0.1:8080/v1 (--llm openai)"
    )
    llm_key_file: Path | None = Field(
        None, description="file that holds the server's key; or set ANTIPHON_LLM_KEY"
    )
    llm_connect_timeout_s: float = Field(
        5.0, gt=0, le=600, description="longest wait for a connection to the server"
    )
    llm_first_token_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="longest wait for the server's first piece of a reply"
    )
    llm_idle_timeout_s: float = Field(
        15.0, gt=0, le=3600, description="longest wait for the server's next piece"
    )
    early_start: bool = Field(
        True, description="begin replies before the turn is over, as far as there is room"
    )
    llm_extra_body: str = Field(
        "{}",
        description="further fields of requests to the server, as JSON, e.g. "
        '{"chat_template_kwargs": {"enable_thinking": false}}',
    )
    llm_retries: int = Field(
        2, ge=0, le=10, description="further tries for a reply before its first piece"
    )
    llm_health_interval_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="a server that did nothing for so long is asked for a token",
    )
    llm_unhealthy_after: int = Field(
        3, ge=1, le=100, description="failures of the server in a row that make it unready"
    )
    llm_outage: Literal["refuse", "transcribe"] = Field(
        "refuse",
        description="conversations while the server is unready: none begins, or they are "
        "transcribed and answered with an error",
    )
    llm_slots: int = Field(4, ge=1, le=256, description="replies generated at the same time")
    llm_context_tokens: int = Field(2048, ge=256, le=131072, description="context of one slot")
    llm_max_tokens: int = Field(128, ge=1, le=8192, description="longest reply")
    llm_queue: int = Field(64, ge=1, le=10000, description="replies that may wait for a slot")
    llm_temperature: float = Field(0.0, ge=0, le=2, description="0: always the likeliest token")
    llm_top_p: float = Field(1.0, gt=0, le=1, description="probability that tokens must share")
    llm_timeout_s: float = Field(60.0, gt=0, le=3600, description="longest time for one reply")
    system: str = Field(
        "You are a helpful assistant in a spoken conversation. Keep your answers short.",
        description="system prompt",
    )

    max_sessions: int = Field(64, ge=1, le=100000, description="sessions at the same time")
    latency_target_s: float = Field(
        1.0,
        ge=0,
        le=60,
        description="time from the end of speech to its final text (p95) that admission keeps: a "
        "session that would make it longer is refused; 0: only max_sessions and max_lag_s count",
    )
    max_lag_s: float = Field(5.0, gt=0, le=600, description="speech lag that refuses new sessions")
    max_buffered_s: float = Field(
        60.0, ge=5, le=3600, description="un-decoded audio of a session before TCP pushes back"
    )
    step_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="longest step of a worker before it counts as hanging"
    )
    segment_timeout_s: float = Field(
        60.0, gt=0, le=3600, description="longest time from a segment's end to its transcript"
    )

    @field_validator("llm_url")
    @classmethod
    def _url_is_one(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write http://host:port/v1, or https")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("a key belongs into llm_key_file or ANTIPHON_LLM_KEY, not here")
        return url

    @field_validator("llm_extra_body")
    @classmethod
    def _extra_body_is_an_object(cls, body: str) -> str:
        try:
            fields = json.loads(body)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError('write a JSON object: {"name": value}')
        if taken := sorted(_OWN_FIELDS & fields.keys()):
            raise ValueError(f"{', '.join(taken)}: set by the engine itself")
        return body

    @model_validator(mode="after")
    def _remote_has_an_address(self) -> Self:
        if self.llm == "openai" and self.llm_url is None:
            raise ValueError("llm openai needs llm_url: the address of the server")
        return self
