"""The generator against the real server with the real models: every encoding and profile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.cli import main
from server.process import ServerProcess


@pytest.fixture(scope="module")
def server(whisper_base: Path) -> Iterator[ServerProcess]:
    with ServerProcess() as process:
        process.start(["--llm", "echo"])
        yield process


@pytest.mark.models
@pytest.mark.parametrize(
    ("profile", "encoding"),
    [("continuous", "pcm"), ("continuous", "webm"), ("bursty", "wav"), ("conversation", "base64"),
     ("churn", "pcm"), ("mixed", "pcm")],
)  # fmt: skip
def test_a_small_load_is_carried_without_a_fault(
    server: ServerProcess,
    phrases: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    encoding: str,
) -> None:
    """No fault of any kind; how fast it was is not asserted."""
    monkeypatch.delenv("ANTIPHON_SPEECH", raising=False)
    output = tmp_path / "load.json"
    main(["bench", "load", "--url", server.ws_url, "--sessions", "2", "--profile", profile,
          "--encoding", encoding, "--ramp", "0.5", "--warmup", "0", "--duration", "6",
          "--output", str(output)])  # fmt: skip
    run = json.loads(output.read_text())["runs"][0]
    faults = [one for one in run["findings_list"] if one["kind"] not in ("late", "stalled")]
    assert faults == []
    assert run["opened"] >= 2
    assert run["speech"]["turns"] >= 1
    assert run["speech"]["answered"] == run["speech"]["turns"] or profile == "churn"
    assert run["metrics"]["batch_sizes"]["asr"]
    if encoding == "pcm":
        metrics = run["metrics"]
        ends = metrics["stages"]["segment_to_transcript"]["count"] + run["opened"]
        assert metrics["batch_rows"]["vad"] <= metrics["audio_bytes"] / 1024 + ends
    page = output.with_suffix(".html").read_text()
    assert re.findall(r"<script|<link|@import|url\((?!#)|src=", page) == []
    assert "Batch sizes" in page
