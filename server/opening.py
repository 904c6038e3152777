"""What a ``session`` message asks for, within the server's limits: for the engine, the turns and
the parser. Pure."""

from __future__ import annotations

from engine.types import Sampling, SessionOptions
from server.config import Settings
from server.messages import SessionRequest
from server.protocol import MessageLimits
from server.session import SessionPolicy


def message_limits(settings: Settings) -> MessageLimits:
    """What one message may ask for."""
    return MessageLimits(
        max_prompt_chars=settings.max_prompt_chars,
        max_system_chars=settings.max_system_chars,
        max_tokens=settings.llm_max_tokens,
        max_temperature=settings.max_temperature,
        max_stops=settings.max_stops,
        max_stop_chars=settings.max_stop_chars,
    )


def session_options(request: SessionRequest) -> SessionOptions:
    """What the session asks of the engine."""
    return SessionOptions(
        language=request.language,
        languages=request.languages,
        task=request.task,
        prompt=request.prompt,
        hotwords=request.hotwords,
        endpointing=request.endpointing,
        partials="partial" in request.events,
        words="words" in request.events,
    )


def session_policy(request: SessionRequest, settings: Settings, llm_name: str) -> SessionPolicy:
    """How the session's turns are answered: its own choices, else the server's."""
    return SessionPolicy(
        llm_name=llm_name,
        system=settings.system if request.system is None else request.system,
        max_tokens=request.max_tokens or settings.llm_max_tokens,
        sampling=Sampling(
            temperature=_or(request.temperature, settings.llm_temperature),
            top_p=_or(request.top_p, settings.llm_top_p),
            stop=request.stop,
            seed=request.seed,
        ),
        segment_timeout_s=settings.segment_timeout_s,
        llm_timeout_s=settings.llm_timeout_s,
        events=request.events,
        barge_in=request.barge_in,
    )


def _or(asked: float | None, default: float) -> float:
    return default if asked is None else asked
