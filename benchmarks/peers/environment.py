"""A virtual environment of its own for each peer, made from the package index, and kept."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import venv
from pathlib import Path

from benchmarks.peers.registry import Peer
from engine.errors import AntiphonError
from server.sources import load as load_settings

_INSTALL_TIMEOUT_S = 600


class PeerUnavailable(AntiphonError):
    """A peer could not be installed or started; the text goes into the table."""

    code = "peer_unavailable"


def home() -> Path:
    """Where everything that benchmarks make and keep lies."""
    return load_settings({}, os.environ).home / "bench"


def python_of(peer: Peer) -> Path:
    """The peer's Python, installed if it is not. Raises ``PeerUnavailable``."""
    wanted = json.dumps([peer.packages, peer.without_dependencies])
    mark = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    folder = home() / "peers" / f"{peer.environment}-{mark}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.is_file():
        venv.create(folder, with_pip=True, clear=True)
        _pip(python, "install", *peer.packages)
        if peer.without_dependencies:
            _pip(python, "install", "--no-deps", *peer.without_dependencies)
        ready.touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """What is installed there, by name."""
    listed: list[dict[str, str]] = json.loads(_pip(python, "list", "--format", "json"))
    return {item["name"]: item["version"] for item in listed}


def _pip(python: Path, *arguments: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        raise PeerUnavailable(f"pip failed: {' '.join(lines) or error.stderr[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"pip took longer than {_INSTALL_TIMEOUT_S} s") from error
    return done.stdout
