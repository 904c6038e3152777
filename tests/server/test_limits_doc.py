"""docs/LIMITS.md names every setting that bounds something, with its real default."""

from __future__ import annotations

import re
from pathlib import Path

from server.config import Settings

DOC = (Path(__file__).parents[2] / "docs" / "LIMITS.md").read_text()
LIMITS = re.compile(
    r"^max_|_timeout_s$|^receive_queue$|^write_buffer|^outbox|^ping_|^session_memory"
    r"|^window_s$|^latency_target_s$|^llm_(slots|queue|max_tokens|context_tokens|unhealthy_after)$"
)


def test_every_limit_is_explained_with_its_default() -> None:
    rows = dict(re.findall(r"^\|[^|]*\| `(\w+)` \| ([^|]+?) \|", DOC, re.MULTILINE))
    fields = {name: field for name, field in Settings.model_fields.items() if LIMITS.search(name)}
    assert rows == {name: str(field.default) for name, field in fields.items()}


def test_every_setting_that_is_named_exists() -> None:
    settings = {name for name in re.findall(r"`(\w+)`", DOC) if "_" in name}
    assert settings - {"bad_message", "session_id", "sample_rate"} <= set(Settings.model_fields)
