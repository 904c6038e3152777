"""Facts of this machine, and the texts that facts are read from."""

from __future__ import annotations

import os

import pytest

from engine.doctor import machine as facts


def test_this_machine_is_described() -> None:
    machine = facts.examine()
    assert machine.processor.cores == len(os.sched_getaffinity(0))
    assert 0 < machine.available_bytes <= machine.memory_bytes
    assert machine.versions["torch"]
    assert set(machine.libraries) == set(facts.LIBRARIES)


@pytest.mark.parametrize(("number", "version"), [(12080, (12, 8)), (13000, (13, 0))])
def test_versions_as_cuda_writes_them(number: int, version: tuple[int, int]) -> None:
    assert facts.cuda_version(number) == version


@pytest.mark.parametrize(
    ("text", "limit"), [("max\n", 100), ("60\n", 60), ("600\n", 100), ("", 100)]
)
def test_a_containers_limit_counts_where_it_is_lower(text: str, limit: int) -> None:
    assert facts.memory_limit(text, 100) == limit
