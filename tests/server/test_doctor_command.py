"""``antiphon doctor`` as a command: with the real models here, and with what can go wrong."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from engine.doctor.finding import Finding
from server import cli, doctor_command
from server.doctor_command import check_port, report, summary

OK = Finding("one", "ok", "fine")
WARNING = Finding("two", "warning", "slow", "hurry")
FAILURE = Finding("three", "failure", "broken", "mend it")


def test_this_machine_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """The real models hear the real question and begin a reply, in processes of their own."""
    status = cli.main(["doctor", "--device", "cpu", "--port", "0", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status == 0, told
    assert told["ok"] is True
    findings = {finding["check"]: finding for finding in told["findings"]}
    assert "France" in findings["speech"]["detail"]
    assert findings["speech model"]["status"] == findings["language model"]["status"] == "ok"
    assert findings["reply"]["status"] == "ok"


def test_models_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["doctor", "--device", "cpu", "--port", "0", "--home", str(tmp_path)]
    assert cli.main([*arguments, "--llm", "echo"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "antiphon models pull base" in told
    assert "failures." in told


@pytest.mark.parametrize(
    ("findings", "status", "words"),
    [
        ([OK], 0, "Everything is well."),
        ([OK, WARNING], 0, "1 warning: it will serve."),
        ([OK, WARNING, FAILURE, FAILURE], 1, "2 failures and 1 warning."),
    ],
)
def test_the_exit_status_counts_failures_only(
    findings: list[Finding],
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor_command, "examine", lambda settings: iter(findings))
    assert cli.main(["doctor"]) == status
    told = capsys.readouterr().out
    assert summary(findings) == words
    assert words in told
    assert all(f.detail in told and f.advice in told for f in findings)
    assert report(findings)["ok"] is (status == 0)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        finding = check_port("127.0.0.1", taken.getsockname()[1])
    assert finding.status == "failure"
    assert "--port" in finding.advice
    assert check_port("127.0.0.1", 0).status == "ok"


def test_an_address_of_another_machine() -> None:
    finding = check_port("192.0.2.1", 8000)  # reserved for documentation, RFC 5737
    assert finding.status == "failure"
    assert "--host" in finding.advice
