"""Finds code that would make the host wait for a GPU, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {
    "tolist", "item", "numpy", "cpu", "nonzero", "masked_select", "unique", "equal", "allclose",
    "__bool__", "__int__", "__float__", "__index__", "__contains__",
}  # fmt: skip
_SYNCHRONISING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}


def _reads_an_index(index: object) -> bool:
    """Lists are copied to the device from memory that is not pinned, masks are counted first."""
    if isinstance(index, tuple):
        return any(map(_reads_an_index, index))
    return isinstance(index, list) or (isinstance(index, Tensor) and index.dtype is torch.bool)


class _Functions(TorchFunctionMode):
    def __init__(self, reads: HostReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _READS:
            self._reads.note(name)
        if name in ("__getitem__", "__setitem__") and _reads_an_index(args[1]):
            self._reads.note(name)
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    def __init__(self, reads: HostReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func._schema.name in _SYNCHRONISING:
            self._reads.note(func._schema.name)
        return func(*args, **(kwargs or {}))


class HostReads:
    """``names`` of the calls that read a tensor's values on the host while ``watch``ing."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._hidden = False

    def note(self, name: str) -> None:
        if not self._hidden:
            self.names.append(name)

    @contextmanager
    def watch(self) -> Iterator[None]:
        with _Functions(self), _Operators(self):
            yield

    def as_a_kernel(self, reference: Callable[..., Any]) -> Callable[..., Any]:
        """A kernel's torch reference may read what the kernel itself reads on the device."""

        def call(*args: Any, **kwargs: Any) -> Any:
            before, self._hidden = self._hidden, True
            try:
                return reference(*args, **kwargs)
            finally:
                self._hidden = before

        return call
