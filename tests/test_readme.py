"""README.md and docs/ARCHITECTURE.md name only what exists: commands, flags, settings, files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from engine.models import DEFAULTS, registry
from server import messages
from server.cli import main
from server.config import Settings
from server.protocol import MessageLimits, parse
from server.sources import ENV_CONFIG, load, variable

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/ARCHITECTURE.md")
SOURCES = ("engine", "server", "kernels")
VARIABLES = {ENV_CONFIG, "ANTIPHON_SPEECH", *map(variable, Settings.model_fields)}
# Names of the user's own, of the speech corpus and of pip's, which the sources need not hold.
NOT_OURS = {"manifest.jsonl", "PIP_EXTRA_INDEX_URL", "MediaRecorder"}

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FILE = re.compile(r"\.?[\w-][\w./-]*(?:/|\.(?:py|md|toml|svg|lock|jsonl))")


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [body for name, body in _FENCE.findall(text(page)) if name == language]


def spans(page: str) -> list[str]:
    """What stands in code font in running text and tables."""
    found = _SPAN.findall(_FENCE.sub("", text(page)))
    assert found, f"{page} has nothing in code font: the pattern is wrong"
    return found


def commands() -> Iterator[list[str]]:
    """Every command line of both pages as words, without variables set before it."""
    for page in PAGES:
        lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
        for line in lines + spans(page):
            words = shlex.split(line) if line.count('"') % 2 == 0 else line.split()
            while words and re.match(r"ANTIPHON_\w+=", words[0]):
                assert words.pop(0).partition("=")[0] in VARIABLES, line
            if words:
                yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


@cache
def make_targets() -> frozenset[str]:
    phony = re.search(r"^\.PHONY: (.+)$", text("Makefile"), re.MULTILINE)
    assert phony
    return frozenset(phony.group(1).split())


@cache
def sources() -> frozenset[str]:
    """Every word of the packages' own files and of the project's description."""
    paths = [path for package in SOURCES for path in (ROOT / package).rglob("*.py")]
    paths += [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "engine/models/registry.toml"]
    return frozenset(w for path in paths for w in re.findall(r"\w+", path.read_text("utf-8")))


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page: str) -> None:
    links = _LINK.findall(_FENCE.sub("", text(page)))
    assert links
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), f"{page} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page} links to {link}"


def test_make_has_every_target_that_is_named() -> None:
    named = {words[1] for words in commands() if words[0] == "make" and len(words) > 1}
    assert {"demo", "test", "serve", "lint", "bench"} <= named <= make_targets()


def test_antiphon_has_every_command_and_flag_that_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [words[1:] for words in commands() if words[0] == "antiphon" and len(words) > 1]
    assert {words[0] for words in named} >= {"serve", "talk", "models", "config"}
    for words in named:
        subcommand = words[:2] if words[0] == "models" and len(words) > 1 else words[:1]
        known = set(re.findall(r"--[a-z][a-z-]*", help_of(capsys, *subcommand)))
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= known, words
        if subcommand[1:] in (["pull"], ["verify"]):
            assert {word for word in words[2:] if not word.startswith("-")} <= set(registry())


def test_serve_has_every_flag_that_is_named_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    named = {span for page in PAGES for span in spans(page) if span.startswith("--")}
    assert named
    assert named <= set(re.findall(r"--[a-z][a-z-]*", help_of(capsys, "serve")))


def test_every_variable_that_is_named_is_read() -> None:
    named = set(re.findall(r"\bANTIPHON_[A-Z_]+", "".join(map(text, PAGES))))
    assert named <= VARIABLES
    assert "ANTIPHON_HOME" in named


def table(heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the first table under a heading of the README."""
    section = text("README.md").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for row in re.findall(r"^\|(.+)\|$", section, re.MULTILINE)[2:]:
        yield [cell.strip() for cell in row.split("|")]


def test_the_table_of_settings_has_their_names_and_defaults() -> None:
    settings = load({}, {})
    named = []
    for names, defaults, _ in table("Settings"):
        keys, values = _SPAN.findall(names), _SPAN.findall(defaults)
        named += keys
        for key, value in zip(keys, values, strict=bool(values)):
            assert str(getattr(settings, key)) == value
    assert len(named) >= 10
    assert set(named) <= set(Settings.model_fields)


def test_the_table_of_models_is_that_of_the_registry() -> None:
    rows = {_SPAN.findall(name)[0]: (size, licence) for name, _, size, licence in table("Models")}
    assert rows == {
        model.name: (f"{model.size / 1e6:.1f} MB", model.licence) for model in registry().values()
    }


def test_what_is_fetched_is_as_large_as_the_text_says() -> None:
    total = sum(model.size for model in registry().values())
    default = sum(registry()[name].size for name in DEFAULTS)
    said = re.findall(r"models \((\d+) MB", text("README.md"))
    assert said == [f"{default / 1e6:.0f}", f"{(total - default) / 1e6:.0f}"]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    files = {span for span in spans(page) if _FILE.fullmatch(span)} - NOT_OURS
    assert files
    missing = {file for file in files if not (ROOT / file).exists()}
    assert missing == set(), "named in code font, and not there"
    assert (ROOT / ".ci/run").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_every_name_in_code_font_is_in_the_sources(page: str) -> None:
    """Identifiers, qualified or not; a name that was changed in the code is found here."""
    named = {span for span in spans(page) if re.fullmatch(r"[A-Za-z_][\w.]*", span)} - NOT_OURS
    words = {word for name in named for word in re.findall(r"\w+", name)}
    assert words
    assert words - sources() - {path.name for path in ROOT.iterdir()} - {"lock", "make"} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_path_on_the_server_is_served(page: str) -> None:
    http = text("server/http.py")
    for span in spans(page):
        if re.fullmatch(r"/[\w/]*", span):
            assert span == "/" or f'"{span}"' in http, span


def test_the_exchange_is_the_protocol_s() -> None:
    (client,), (server,) = blocks("README.md", "json client"), blocks("README.md", "json server")
    limits = MessageLimits(max_prompt_chars=0, max_system_chars=0, max_tokens=1)
    assert len([parse(line, limits) for line in client.splitlines()]) == 3
    known = {getattr(kind, "type", None) for kind in vars(messages).values()}
    assert {json.loads(line)["type"] for line in server.splitlines()} <= known
