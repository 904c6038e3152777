"""``antiphon bench``: in a checkout, outside one, and without what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server import bench_command
from server.cli import main


def test_help_names_the_three_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("latency", "load", "compare"))


def test_outside_a_checkout_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_command, "_CHECKOUT", tmp_path)
    assert main(["bench", "load", "--sessions", "2"]) == 1
    said = capsys.readouterr().err
    assert "needs the folder benchmarks/" in said
    assert "make setup" in said


def test_without_the_development_packages_it_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'jiwer'", name="jiwer")

    monkeypatch.setattr(bench_command, "import_module", missing)
    assert main(["bench", "load"]) == 1
    assert "needs the package jiwer" in capsys.readouterr().err


def test_a_url_and_arguments_for_a_server_of_its_own_do_not_go_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "load", "--url", "ws://127.0.0.1:1/ws/audio", "--", "--llm", "echo"]) == 2
    assert "--url names a running server" in capsys.readouterr().err


def test_an_address_that_is_no_websocket_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "load", "--url", "http://127.0.0.1:1"]) == 2
    assert "no WebSocket address" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--sessions", "0"], ["--sessions", "two"]])
def test_a_number_of_sessions_is_a_number(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "load", *words])
    assert ended.value.code == 2


def test_an_unknown_peer_is_refused_with_those_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "compare", "--peers", "whisperlove"])
    assert ended.value.code == 2
    assert "whisperlive" in capsys.readouterr().err
