"""From what a user calls a model to the file or folder that holds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from engine.errors import ModelError
from engine.models.registry import Model, registry, suggest

_WHISPER_FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")
_GGUF_MAGIC = b"GGUF"


def resolve(name: str, kind: Literal["asr", "llm"], home: Path) -> Path:
    """The folder (``asr``) or GGUF file (``llm``) of a model.

    ``name`` is, tried in this order: an embedded model (``antiphon models list``), a path, or
    (``asr``) a name of the Hugging Face hub, such as ``large-v3-turbo``, which is then fetched
    into the hub's own cache. Raises ``ModelError`` that says what to do.
    """
    model = registry().get(name)
    if model is not None:
        return _embedded(model, kind, home)
    path = Path(name).expanduser()
    if path.exists() or _looks_like_path(name):
        return _whisper_folder(path) if kind == "asr" else _gguf_file(path)
    if kind == "asr":
        return _whisper_folder(_from_hub(name))
    raise ModelError(f"there is no language model {name!r}{suggest(name, _names('llm'))}")


def _names(kind: str) -> list[str]:
    return [model.name for model in registry().values() if model.kind == kind]


def _embedded(model: Model, kind: str, home: Path) -> Path:
    if model.kind != kind:
        raise ModelError(
            f"{model.name!r} is of kind {model.kind!r}, and {kind!r} is needed here; "
            f"known: {', '.join(_names(kind))}"
        )
    if not model.is_pulled(home):
        raise ModelError(
            f"the model {model.name!r} is not in {home / 'models'}: "
            f"run `antiphon models pull {model.name}`"
        )
    folder = model.folder(home)
    return folder if kind == "asr" else folder / model.files[0].path


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or name.endswith(".gguf") or name.count("/") > 1


def _whisper_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder: name one with {', '.join(_WHISPER_FILES)}")
    missing = [file for file in _WHISPER_FILES if not any(folder.glob(file))]
    if missing:
        raise ModelError(
            f"{folder} is not a Whisper model in CTranslate2's format: it has no "
            f"{', '.join(missing)}"
        )
    return folder


def _gguf_file(path: Path) -> Path:
    if path.is_dir():
        found = sorted(path.glob("*.gguf"))
        if len(found) != 1:
            raise ModelError(f"{path} holds {len(found)} .gguf files: name the file itself")
        path = found[0]
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise ModelError(f"cannot read the language model {path}: {error.strerror}") from error
    if magic != _GGUF_MAGIC:
        raise ModelError(f"{path} is not a GGUF file")
    return path


def _from_hub(name: str) -> Path:
    # Imported late: it brings PyAV and CTranslate2 along, which `antiphon models` does not need.
    from faster_whisper.utils import available_models, download_model

    if "/" not in name and name not in available_models():
        known = [*_names("asr"), *available_models()]
        raise ModelError(f"there is no speech model {name!r}{suggest(name, known)}")
    try:
        return Path(download_model(name))
    except Exception as error:  # the hub's client has no common base for what it raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"cannot fetch {name!r} from the Hugging Face hub: {reason} (check the network and "
            f"the name, name a local folder, or take an embedded model: "
            f"{', '.join(_names('asr'))})"
        ) from error
