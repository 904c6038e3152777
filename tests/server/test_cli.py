"""The command line: what reaches a subcommand, what is printed, and the exit status."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from importlib import metadata
from types import ModuleType

import pytest

from engine.errors import AntiphonError, ConfigError, ModelError
from server import cli
from server.config import Settings
from server.sources import flag, load


def fake_command(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException) -> None:
    """Put a subcommand ``fake`` in place that ends with ``outcome``."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--loudness")

    def run(args: argparse.Namespace) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = ModuleType("fake_command")
    vars(module).update(add_arguments=add_arguments, run=run)
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli._COMMANDS, "fake", ("fake_command", "a fake"))


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (0, 0),
        (3, 3),
        (ConfigError("wrong"), 2),
        (ModelError("absent"), 1),
        (AntiphonError("broken"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_outcome_becomes_the_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: int | BaseException,
    status: int,
) -> None:
    fake_command(monkeypatch, outcome)
    assert cli.main(["fake"]) == status
    told = f"antiphon: {outcome}\n" if isinstance(outcome, AntiphonError) else ""
    assert capsys.readouterr().err == told


def test_a_misspelt_flag_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fake", "--loudnes=3"])
    assert stop.value.code == 2
    assert "unknown argument --loudnes=3; did you mean --loudness?" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli._COMMANDS)


def test_help_needs_no_libraries() -> None:
    """A clean interpreter shows the help without importing anything slow."""
    code = (
        "import sys; from server.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'numpy', 'pydantic', 'rich', 'websockets'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "serve conversations" in done.stdout


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"antiphon {metadata.version('antiphon')}\n"


def test_the_help_of_serve_teaches_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in Settings.model_fields:
        assert f"{flag(name)} " in text
    assert "--port N port to listen on; 0: any free one (default: 8000; 0 to 65535)" in text
    assert "--asr-model NAME|DIR" in text
    assert "--llm {llamacpp,exllamav2,openai,echo}" in text


def test_serve_refuses_a_wrong_setting_before_it_loads_anything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["serve", "--port", "http"]) == 2
    assert "--port: 'http' is refused" in capsys.readouterr().err


def test_config_prints_settings_that_can_be_read_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_AUTH_TOKEN", "s3cret")
    monkeypatch.setenv("ANTIPHON_LLM_SLOTS", "3")
    assert cli.main(["config", "--system", 'Say "no".', "--origins", "https://a.example"]) == 0
    printed = capsys.readouterr().out
    assert "s3cret" not in printed
    read = load(tomllib.loads(printed), {})
    assert (read.llm_slots, read.system, read.origins) == (3, 'Say "no".', ("https://a.example",))
