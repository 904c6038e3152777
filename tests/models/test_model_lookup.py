"""Which file or folder a user means by the name of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models import registry, resolve


def whisper_folder(folder: Path, *without: str) -> Path:
    folder.mkdir(parents=True)
    for name in {"model.bin", "config.json", "tokenizer.json", "vocabulary.json"} - set(without):
        (folder / name).write_bytes(b"x")
    return folder


def pretend_pulled(name: str, home: Path) -> Path:
    folder = registry()[name].folder(home)
    for file in registry()[name].files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as sparse:
            sparse.truncate(file.size)
    return folder


def test_an_embedded_speech_model_is_its_folder(tmp_path: Path) -> None:
    folder = pretend_pulled("tiny.en", tmp_path)
    assert resolve("tiny.en", "asr", tmp_path) == folder


def test_an_embedded_language_model_is_its_file(tmp_path: Path) -> None:
    folder = pretend_pulled("smollm2-135m-instruct", tmp_path)
    found = resolve("smollm2-135m-instruct", "llm", tmp_path)
    assert found == folder / "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_model_not_pulled_says_how_to_pull_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="antiphon models pull base"):
        resolve("base", "asr", tmp_path)


def test_a_model_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'asr' is needed here; known: base, tiny\.en"):
        resolve("smollm2-135m-instruct", "asr", tmp_path)


def test_a_local_whisper_folder_is_taken(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "mine")
    assert resolve(str(folder), "asr", tmp_path) == folder


def test_a_whisper_folder_with_a_file_missing_names_it(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "mine", "tokenizer.json")
    with pytest.raises(ModelError, match=r"it has no tokenizer\.json$"):
        resolve(str(folder), "asr", tmp_path)


def test_a_gguf_file_or_the_folder_that_holds_one_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF\x03")
    assert resolve(str(file), "llm", tmp_path) == file
    assert resolve(str(tmp_path), "llm", tmp_path) == file


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("other.gguf", b"PK\x03\x04", "not a GGUF file"), ("absent.gguf", None, "No such file")],
)
def test_a_file_that_is_no_language_model_is_refused(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=says):
        resolve(str(tmp_path / name), "llm", tmp_path)


def test_an_unknown_language_model_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean 'smollm2-135m-instruct'"):
        resolve("smollm-135m", "llm", tmp_path)


def test_a_hub_name_goes_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whisper_folder(tmp_path / "snapshot")
    asked: list[str] = []

    def download_model(name: str) -> str:
        asked.append(name)
        return str(folder)

    monkeypatch.setattr("faster_whisper.utils.download_model", download_model)
    assert resolve("large-v3-turbo", "asr", tmp_path) == folder
    assert resolve("someone/whisper-ct2", "asr", tmp_path) == folder
    assert asked == ["large-v3-turbo", "someone/whisper-ct2"]


def test_a_hub_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download_model(name: str) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("faster_whisper.utils.download_model", download_model)
    with pytest.raises(ModelError, match=r"no route .*embedded model: base, tiny\.en"):
        resolve("large-v3-turbo", "asr", tmp_path)


def test_a_misspelt_speech_model_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean 'large-v3-turbo'"):
        resolve("large-v3-trubo", "asr", tmp_path)
