"""How much memory the settings allow at worst, added up, and how much there is.

Each row is a bound that some setting sets, reached only if every client does its worst at once.
docs/LIMITS.md shows the sum for the defaults.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError
from engine.models.registry import registry
from engine.types import SAMPLE_RATE
from server.config import Settings
from server.media.stream import MAX_PIECE_S

MIB = 1 << 20
GIB = 1 << 30
BYTES_PER_SECOND = 4 * SAMPLE_RATE  # float32

# Frames in the library's queue (one more than `receive_queue` before it pauses the socket), then
# the one that is being handled, as the parser left it and as bytes.
_MESSAGES_BESIDE_QUEUE = 3
_BYTES_PER_OUTBOX_MESSAGE = 1 << 10
_BYTES_PER_CHAR = 4
_BYTES_PER_TOKEN = 8  # of text
_TRANSCRIPT_CHARS = 1 << 10  # of one turn: a minute of speech
_KV_BYTES_PER_TOKEN = 23_040  # SmolLM2-135M: 30 layers of 3 heads of 64, keys and values, float16
_CODE_BYTES = 700 * MIB  # interpreter, torch, and what they load
# Of the bytes of a Whisper's files, which hold float16: weights in float32, copies of the decoder's
# for few rows, cross-attention caches, and the silence that the encoder shares. With `base` in
# float32, 1,618 MB were resident for one session and 1,860 for 16, with audio and the rest.
_ASR_FACTOR = 5
_LLM_FACTOR = 1.2

log = logging.getLogger("antiphon.memory")


@dataclass(frozen=True, slots=True)
class Row:
    """``bytes`` at worst; lowering any of ``settings`` lowers them."""

    what: str
    bytes: int
    settings: tuple[str, ...]


def worst_case(settings: Settings) -> list[Row]:
    """What ``settings`` allow, one row for each kind of memory."""
    sockets, sessions = settings.socket_limit, settings.max_sessions
    read_ahead = (settings.receive_queue + _MESSAGES_BESIDE_QUEUE) * settings.max_message_bytes
    to_send = settings.write_buffer_bytes + settings.outbox_messages * _BYTES_PER_OUTBOX_MESSAGE
    # In the slot's queue, and as speech that waits for the model.
    audio_s = 2 * settings.max_buffered_s + MAX_PIECE_S + settings.window_s
    turn = _TRANSCRIPT_CHARS * _BYTES_PER_CHAR + settings.llm_max_tokens * _BYTES_PER_TOKEN
    texts = (2 * settings.max_prompt_chars + settings.max_system_chars) * _BYTES_PER_CHAR
    kept = (settings.max_conversations + sessions) * settings.max_history_turns * turn
    pending = sessions * (settings.max_pending_turns * turn + texts)
    rows = [
        Row(
            "messages being received",
            sockets * read_ahead,
            ("max_message_bytes", "receive_queue", "max_connections"),
        ),
        Row(
            "messages to be sent",
            sockets * to_send,
            ("outbox_messages", "write_buffer_bytes", "max_connections"),
        ),
        Row(
            "audio of sessions",
            round(sessions * audio_s * BYTES_PER_SECOND),
            ("max_buffered_s", "max_sessions"),
        ),
        Row(
            "conversations",
            kept + pending,
            ("max_conversations", "max_history_turns", "max_pending_turns"),
        ),
        Row("models and code", _models_bytes(settings), ("asr_model", "llm_model")),
    ]
    if settings.llm in ("llamacpp", "exllamav2"):
        cache = settings.llm_slots * settings.llm_context_tokens * _KV_BYTES_PER_TOKEN
        rows.append(Row("cache of the LLM", cache, ("llm_context_tokens", "llm_slots")))
    return rows


def _models_bytes(settings: Settings) -> int:
    asr = _ASR_FACTOR * _weights_bytes(settings.asr_model)
    in_process = settings.llm in ("llamacpp", "exllamav2")
    llm = _LLM_FACTOR * _weights_bytes(settings.llm_model) if in_process else 0
    return round(_CODE_BYTES + asr + llm)


def _weights_bytes(model: str) -> int:
    """Of an embedded model, a file or a folder; 0 for a name on a hub, whose size is not known."""
    if model in registry():
        return registry()[model].size
    path = Path(model).expanduser()
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files if file.is_file())


def check_memory(settings: Settings, there_is: int | None) -> None:
    """Log the worst case of ``settings``.

    Raises ``ConfigError`` if it is more than ``there_is``.
    """
    rows = worst_case(settings)
    total = sum(row.bytes for row in rows)
    parts = ", ".join(f"{row.what} {in_words(row.bytes)}" for row in rows)
    of = "an unknown amount" if there_is is None else in_words(there_is)
    log.info("memory at worst: %s of %s (%s)", in_words(total), of, parts)
    if there_is is not None and total > there_is:
        raise ConfigError(
            f"these settings allow {in_words(total)} of memory at worst, and there are "
            f"{in_words(there_is)}: lower {_what_to_lower(rows)} (docs/LIMITS.md has the sum)"
        )


def _what_to_lower(rows: Sequence[Row]) -> str:
    """The settings of the largest rows that settings alone decide, the largest first."""
    bounds = sorted((row for row in rows if row.bytes), key=lambda row: row.bytes, reverse=True)
    told = [row for row in bounds if row.bytes >= bounds[0].bytes / 4]
    return "; or ".join(
        f"{', '.join(row.settings)} ({row.what}: {in_words(row.bytes)})" for row in told
    )


def in_words(count: int) -> str:
    """``1.5 GiB``, ``30 MiB``."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def memory_there_is(
    own_cgroup: Path = Path("/proc/self/cgroup"), cgroups: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Of the machine, or of the control groups (v2, v1) that this process is in; None: unknown."""
    found = []
    with contextlib.suppress(ValueError, OSError):  # no such name on this system
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    folders = [cgroups, cgroups / "memory"]
    for line in _read(own_cgroup).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = (cgroups if controllers == "" else cgroups / "memory") / path.lstrip("/")
            folders += [folder, *folder.parents]
    for folder in folders:
        if folder.is_relative_to(cgroups):
            found += _limits(folder)
    return min(found, default=None)


def _limits(folder: Path) -> list[int]:
    """``max`` stands for none, as does in version 1 a number larger than any memory."""
    texts = (_read(folder / name).strip() for name in ("memory.max", "memory.limit_in_bytes"))
    return [int(text) for text in texts if text.isdigit()]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
