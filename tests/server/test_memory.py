"""The worst case of the settings, added up, and what the machine has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import settings

from engine.errors import ConfigError
from server.config import Settings
from server.memory import GIB, MIB, check_memory, in_words, memory_there_is, worst_case

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "LIMITS.md").read_text()


def total(**given: object) -> int:
    return sum(row.bytes for row in worst_case(Settings.model_validate(given)))


def test_the_defaults_fit_a_machine_of_4_gib() -> None:
    check_memory(Settings(), round(3.75 * GIB))  # what the kernel leaves of 4


def test_the_page_of_limits_shows_the_sum() -> None:
    rows = re.findall(r"^\| ([^|`]+?) \| ([\d.]+ [GM]iB) \|", DOC, re.MULTILINE)
    assert rows[:-1] == [(row.what, in_words(row.bytes)) for row in worst_case(Settings())]
    assert rows[-1] == ("in all", in_words(total()))


def test_lowering_any_setting_that_a_row_names_lowers_that_row() -> None:
    higher = {
        name: 2 * (getattr(Settings(), name) or Settings().socket_limit)
        for row in worst_case(Settings())
        for name in row.settings
        if not name.endswith("_model")  # by which model, not by a number
    }
    high = {row.what: row.bytes for row in worst_case(Settings.model_validate(higher))}
    for row in worst_case(Settings()):
        for name in higher.keys() & set(row.settings):
            one_lower = {other: value for other, value in higher.items() if other != name}
            rows = worst_case(Settings.model_validate(one_lower))
            lowered = {row.what: row.bytes for row in rows}
            assert lowered[row.what] < high[row.what], (row.what, name)


def test_larger_models_need_more(tmp_path: Path) -> None:
    def models(**given: object) -> int:
        rows = worst_case(Settings.model_validate(given))
        return next(row.bytes for row in rows if row.what == "models and code")

    (tmp_path / "model.bin").write_bytes(bytes(3 * MIB))
    assert models(asr_model=str(tmp_path)) < models(asr_model="tiny.en") < models()
    more = models(asr_model=str(tmp_path), llm_model=str(tmp_path / "model.bin"))
    assert more - models(asr_model=str(tmp_path), llm="echo") == round(1.2 * 3 * MIB)


def test_settings_that_exceed_the_memory_are_refused_with_what_to_lower(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    greedy = settings(max_message_bytes=64 * MIB, receive_queue=16)
    with pytest.raises(ConfigError, match=r"lower max_message_bytes, receive_queue") as refused:
        check_memory(greedy, 8 * GIB)
    assert "8.0 GiB" in str(refused.value)
    assert "max_buffered_s" not in str(refused.value)  # a small part of it
    assert "memory at worst" in caplog.text
    assert "messages being received" in caplog.text
    check_memory(greedy, None)  # unknown: nothing to hold it against


def test_a_server_does_not_start_on_such_settings() -> None:
    greedy = ["--max-message-bytes", str(GIB), "--receive-queue", "10000"]
    command = [sys.executable, "-m", "server.cli", "serve", "--port", "0", *greedy]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    told = done.stderr.splitlines()
    assert "memory at worst" in told[-2]
    assert told[-1].startswith("antiphon: these settings allow")
    assert "loading the models" not in done.stderr


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/", {}, None),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {"memory.max": "1000"}, 1000),
        ("0::/a/b", {"a/memory.max": "900", "a/b/memory.max": "max"}, 900),
        ("0::/a/b", {"memory.max": "1000", "a/b/memory.max": "800"}, 800),
        ("4:cpu,cpuacct:/x\n3:memory:/x", {"memory/x/memory.limit_in_bytes": "700"}, 700),
        ("3:memory:/gone", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
)
def test_a_container_has_no_more_than_its_control_group(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "self").write_text(cgroup)
    groups = tmp_path / "groups"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    machine = memory_there_is(tmp_path / "nothing", tmp_path / "none")
    assert machine is not None
    assert machine > GIB // 4
    assert memory_there_is(tmp_path / "self", groups) == (limit or machine)
