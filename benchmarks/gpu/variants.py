"""The ways to run one model: with and without the Triton kernels, with and without CUDA graphs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest import mock

from kernels import dispatch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Variant:
    """torch's forms read lengths on the host, which no graph can hold: there is no such variant."""

    name: str
    fused: bool
    graphs: bool


TORCH = Variant("torch", fused=False, graphs=False)
KERNELS = Variant("kernels", fused=True, graphs=False)
GRAPHS = Variant("kernels and graphs", fused=True, graphs=True)


def variants_on(device: str) -> tuple[Variant, ...]:
    """A CPU has only torch's forms."""
    return (TORCH, KERNELS, GRAPHS) if device == "cuda" else (TORCH,)


def best_on(device: str) -> Variant:
    """What would serve there."""
    ways = [way for way in variants_on(device) if not way.graphs or engine_has_graphs()]
    return ways[-1]


def engine_has_graphs() -> bool:
    from engine.whisper.model import WhisperModel

    return "graphs" in inspect.signature(WhisperModel).parameters


def graphs_switch(make: Callable[..., object], variant: Variant) -> dict[str, Any]:
    """The argument that turns graphs on or off, where ``make`` has one."""
    has = "graphs" in inspect.signature(make).parameters
    return {"graphs": variant.graphs} if has else {}


@contextmanager
def forms_of(variant: Variant) -> Iterator[None]:
    """Within it, every operation that is asked for is of the variant's form.

    Load the model and run it inside: serving has no use for such a switch, so the engine has none.
    """
    if variant.fused:
        yield
        return
    with mock.patch.object(dispatch, "_triton_operations", return_value=dispatch.REFERENCE):
        yield
