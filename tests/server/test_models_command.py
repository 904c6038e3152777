"""``antiphon models``: what is listed, pulled and verified, and how it is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from engine.models import DEFAULTS, Model, Progress, registry
from server import models_command
from server.cli import main
from server.models_progress import show_progress


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A pull that writes files of the right size, and the names it was asked for."""
    names: list[str] = []

    def pull(model: Model, home: Path, progress: Progress) -> Path:
        names.append(model.name)
        progress.step(f"{model.name}: fetching", None)
        for file in model.files:
            path = model.folder(home) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as sparse:
                sparse.truncate(file.size)
        return model.folder(home)

    monkeypatch.setattr(models_command, "pull", pull)
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    return names


def test_pull_without_names_pulls_the_defaults_once(pulled: list[str]) -> None:
    assert main(["models", "pull"]) == 0
    assert main(["models", "pull"]) == 0
    assert pulled == list(DEFAULTS)


def test_pull_all_and_pull_by_name(pulled: list[str]) -> None:
    assert main(["models", "pull", "phrases"]) == 0
    assert main(["models", "pull", "--all"]) == 0
    assert pulled[0] == "phrases"
    assert sorted(pulled) == sorted(registry())


def test_an_unknown_name_is_bad_use_and_pulls_nothing(
    pulled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", "phrases", "bass"]) == 2
    assert "did you mean 'base'?" in capsys.readouterr().err
    assert pulled == []


def test_list_shows_which_are_here_as_lines(
    pulled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["models", "pull", "phrases"])
    capsys.readouterr()
    assert main(["models", "list"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    states = {line[0]: line[4] for line in lines}
    assert states == {name: "pulled" if name == "phrases" else "-" for name in registry()}


def test_verify_names_every_wrong_model_and_fails(
    pulled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["models", "pull", "phrases"])
    assert main(["models", "verify", "phrases", "base"]) == 1
    told = capsys.readouterr().err
    assert "phrases/en/counting.wav has sha256" in told
    assert "antiphon models pull base" in told


def test_a_terminal_gets_a_bar_and_a_table(tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with show_progress(console) as progress:
        progress.step("toy: fetching", None)
        progress.advance(5, 10)
        progress.step("toy: unpacking", 10)
        progress.advance(10)
    models_command._list(tmp_path, console)
    assert "toy: unpacking" in screen.getvalue()
    assert "smollm2-135m-instruct" in screen.getvalue()
