"""What the packages are, which way they import, and what goes into the wheel."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import find_namespace_packages

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "server", "kernels")
SOCKETS = {"asyncio", "http", "selectors", "socket", "socketserver", "ssl", "uvloop", "websockets"}
# The client of remote language models has an event loop of its own.
MAY_USE_ASYNCIO = "engine/llm/openai"
KERNELS_MAY = {"kernels", "numpy", "torch", "triton", *sys.stdlib_module_names} - SOCKETS


def imported(package: str) -> Iterator[tuple[str, str]]:
    """``(file:line, top-level module)`` of every import, also those inside functions."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield where, alias.name.partition(".")[0]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{where}: relative imports hide the direction"
                yield where, str(node.module).partition(".")[0]


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("server", {"torch", "triton", "kernels", "tests", "benchmarks"}),
        ("engine", {"server", "tests", "benchmarks"} | SOCKETS),
    ],
)
def test_imports_go_one_way(package: str, never: set[str]) -> None:
    found = [found for found in imported(package) if found[1] in never]
    assert [f for f in found if not (f[0].startswith(MAY_USE_ASYNCIO) and f[1] == "asyncio")] == []


def test_kernels_know_tensors_and_nothing_else() -> None:
    assert [found for found in imported("kernels") if found[1] not in KERNELS_MAY] == []


def test_the_packages_are_seen_by_these_tests() -> None:
    """Guards the tests above against looking at nothing."""
    modules = {package: {name for _, name in imported(package)} for package in PACKAGES}
    assert "engine" in modules["server"]
    assert "pydantic" in modules["engine"]
    assert "torch" in modules["kernels"]


def test_ours_is_the_only_package_named_kernels() -> None:
    """Its namesake on the package index is one that `transformers` looks for."""
    spec = find_spec("kernels")
    assert spec is not None
    assert list(spec.submodule_search_locations or ()) == [str(ROOT / "kernels")]
    names = {str(distribution.metadata["Name"]) for distribution in metadata.distributions()}
    assert "kernels" not in names
    for entry in {Path(entry or ".").resolve() for entry in sys.path} - {ROOT}:
        assert not (entry / "kernels" / "__init__.py").exists()
        assert not (entry / "kernels.py").exists()


def test_the_wheel_holds_the_packages_and_their_data_only() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = find_namespace_packages(str(ROOT), include=setuptools["packages"]["find"]["include"])
    assert {name.partition(".")[0] for name in found} == set(PACKAGES)
    data = {
        path.relative_to(ROOT).as_posix()
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package).glob(pattern)
    }
    assert {"engine/models/registry.toml", "server/assets/question.wav"} <= data


def test_the_lock_pins_every_dependency_and_names_no_place() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {Requirement(text).name for text in wanted} <= set(pins)
    assert pins["torch"] == "2.13.0"
    assert not [line for line in lines if "/" in line or "@" in line]
