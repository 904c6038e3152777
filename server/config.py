"""Settings of the front end and the engine in one frozen object, and the limits that bound it.

``server.sources.load`` fills it. Every limit is explained in docs/LIMITS.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    field_validator,
    model_validator,
)

from engine.config import EngineSettings

_SPARE_CONNECTIONS = 16


def _split(value: object) -> object:
    """``"a, b"`` from a variable or a flag, a list from a file."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _expand(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


ExistingFile = Annotated[FilePath, BeforeValidator(_expand)]


class Settings(EngineSettings):
    """Everything ``antiphon serve`` can be told. Names end in their unit."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any free one")
    origins: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (),
        description="origins of web pages that may connect, e.g. https://example.org, separated "
        "by commas; none named: pages from the server's own host; *: any",
    )
    auth_token: SecretStr | None = Field(
        None,
        description="bearer token that clients must send; better given by variable or file than "
        "by flag, which others on the machine can read",
    )
    auth_token_file: ExistingFile | None = Field(
        None, description="file that holds the bearer token"
    )
    tls_cert: ExistingFile | None = Field(
        None, description="certificate chain (PEM): serve over TLS"
    )
    tls_key: ExistingFile | None = Field(None, description="private key (PEM) of the certificate")

    max_connections: int = Field(
        0,
        ge=0,
        le=200_000,
        description="WebSocket connections at the same time; 0: max_sessions and 16 more",
    )
    session_timeout_s: float = Field(
        30.0, ge=0, le=86400, description="longest time before a socket's first session; 0: any"
    )
    idle_timeout_s: float = Field(
        600.0,
        ge=0,
        le=86400,
        description="a session that sends nothing for so long is closed; 0: never",
    )
    max_message_bytes: int = Field(
        4 << 20, ge=1024, le=1 << 30, description="longest message from a client, else close 1009"
    )
    receive_queue: int = Field(
        1, ge=1, le=10_000, description="messages of a socket read ahead before TCP pushes back"
    )
    write_buffer_bytes: int = Field(
        64 << 10, ge=1024, le=1 << 30, description="bytes of a socket not yet taken by the network"
    )
    outbox_messages: int = Field(
        256, ge=8, le=1_000_000, description="messages waiting for a slow reader; deltas are joined"
    )
    stall_timeout_s: float = Field(
        20.0, gt=0, le=3600, description="a client that reads nothing for so long is closed"
    )
    ping_interval_s: float = Field(
        20.0, gt=0, le=3600, description="time between pings that find dead connections"
    )
    drain_timeout_s: float = Field(
        30.0, ge=0, le=3600, description="longest wait for replies in flight when stopping"
    )
    session_memory_s: float = Field(
        300.0, ge=0, le=86400, description="a conversation is kept so long after its socket closed"
    )
    max_conversations: int = Field(
        1000, ge=1, le=1_000_000, description="conversations kept, the oldest closed leaving first"
    )
    max_history_turns: int = Field(
        32, ge=0, le=10_000, description="earlier turns of a conversation that are kept"
    )
    max_pending_turns: int = Field(
        32, ge=1, le=10_000, description="unanswered segments of a session before TCP pushes back"
    )
    max_prompt_chars: int = Field(
        1000, ge=0, le=100_000, description="longest `prompt` of a session, and longest `hotwords`"
    )
    max_system_chars: int = Field(
        4000, ge=0, le=1_000_000, description="longest `system` prompt of a session"
    )
    max_temperature: float = Field(
        2.0, ge=0, le=2, description="highest `temperature` that a session may ask for"
    )
    max_stops: int = Field(
        4, ge=0, le=100, description="most texts in `stop`, at which a session's replies end"
    )
    max_stop_chars: int = Field(
        64, ge=1, le=1000, description="longest text in `stop` of a session"
    )

    @field_validator("origins")
    @classmethod
    def _origins_look_like_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, found, rest = origin.partition("://")
            if origin not in ("*", "null") and not (scheme and found and rest.strip("/")):
                raise ValueError(f"{origin!r} is no origin: write https://example.org")
        return tuple(origin.rstrip("/") for origin in origins)

    @field_validator("auth_token")
    @classmethod
    def _token_is_not_empty(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not token.get_secret_value().strip():
            raise ValueError("the token is empty: give one, or leave the setting out")
        return token

    @field_validator("home")
    @classmethod
    def _home_is_expanded(cls, home: Path) -> Path:
        return home.expanduser()

    @property
    def socket_limit(self) -> int:
        """How many WebSocket connections may be open: some wait, or take a session over."""
        return self.max_connections or self.max_sessions + _SPARE_CONNECTIONS

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together or not at all")
        return self


def allowed(name: str) -> str:
    """What a field may be, in words: ``"1 to 512"``; empty where anything of its type may."""
    schema = Settings.model_json_schema()["properties"][name]
    if "enum" in schema:
        return " or ".join(schema["enum"])
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is None and above is None:
        return ""
    start = f"above {above:g}" if low is None else f"{low}"
    end = f"below {below:g}" if high is None else f"{high}"
    return f"{start} to {end}"
