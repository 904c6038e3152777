"""Resolve the container's packages for Linux x86-64 and its Python, from any machine.

python .ci/cuda_lock.py lock     print requirements-cuda.lock anew (`make cudalock` keeps it)
python .ci/cuda_lock.py check    the lock resolves, and to itself: nothing missing or left over;
                                 and the compiler that Dockerfile.cuda adds is to be had
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements-cuda.lock"
DOCKERFILE = ROOT / "Dockerfile.cuda"
PYTHON = "3.13"  # Debian 13's, as in Dockerfile.cuda
GLIBC_MINOR = 41
HEADER = """\
# Exact versions of what runs in the CUDA container (Dockerfile.cuda), for Linux x86-64 and
# Python 3.13; the same as in requirements.lock wherever a package is in both.
# Made by `make cudalock`; checked by `make resolve`; not to be edited by hand.
# torch is built for CUDA 13.0 and brings its libraries; CTranslate2 opens libcublas.so.12, which
# nvidia-cublas-cu12 brings beside them.
"""


def main() -> None:
    if sys.argv[1:] == ["lock"]:
        print(HEADER + "\n".join(pins(resolve(wanted(), ROOT / "requirements.lock"))))
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        sys.exit(__doc__)


def wanted() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["cuda"]]


def check() -> None:
    locked = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    found = pins(resolve(locked, LOCK))
    if found != locked:
        changed = sorted(set(found) ^ set(locked))
        sys.exit(f"{LOCK.name} does not resolve to itself: {', '.join(changed)}")
    compiler = pins(resolve(re.findall(r"cuda-toolkit\[.*?\]", DOCKERFILE.read_text()), LOCK))
    if not any(pin.startswith("nvidia-cuda-nvcc==") for pin in compiler):
        sys.exit(f"{DOCKERFILE.name} adds no compiler")
    print(f"{LOCK.name}: {len(locked)} packages resolve for Linux x86-64, Python {PYTHON}")


def resolve(requirements: list[str], constraints: Path) -> list[dict]:
    """What pip would install. A CPU build of torch, which a local index may offer, is passed by:
    `===` takes no local version."""
    exact = constraints.read_text().replace("torch==", "torch===")
    tags = [f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC_MINOR, 4, -1)]
    tags += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
    with tempfile.TemporaryDirectory() as work:
        pinned, report = Path(work, "constraints"), Path(work, "report")
        pinned.write_text(exact)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--only-binary=:all:", "--python-version", PYTHON]
        command += ["--target", str(Path(work, "target")), "--report", str(report)]
        command += [word for tag in tags for word in ("--platform", tag)]
        command += ["--constraint", str(pinned)]
        command += [line.replace("torch==", "torch===") for line in requirements]
        subprocess.run(command, check=True)
        return json.loads(report.read_text())["install"]


def pins(installed: list[dict]) -> list[str]:
    found = set()
    for item in installed:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        found.add(f"{name}=={item['metadata']['version']}")
    return sorted(found)


if __name__ == "__main__":
    main()
