"""Each kernel compiles to a cubin for the GPUs it is meant for, on a machine that has none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from devices import INTERPRETED, needs_triton

pytestmark = [
    needs_triton,
    pytest.mark.skipif(INTERPRETED, reason="interpreted kernels are never compiled"),
]

# shared memory that one block may use, by architecture (CUDA C++ Programming Guide, table of
# technical specifications): a kernel that asks for more compiles, and fails when it is launched
SHARED_BYTES = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}
TENSOR_COLUMNS = 512  # of the tensor memory that 10.0 has: likewise
ARCHITECTURES = list(SHARED_BYTES)
# the newest in one type, for the sake of the test's time
TYPES = [
    *((dtype, architecture) for dtype in ("fp16", "bf16", "fp32") for architecture in (80, 89, 90)),
    ("fp16", 100),
    ("fp16", 120),
]
ATTEND = {
    **dict.fromkeys(["q_ptr", "k_ptr", "v_ptr"], "*{dtype}"),
    **dict.fromkeys(["slot_ptr", "length_ptr", "tile_ptr"], "*i32"),
    "lse_ptr": "*fp32",
    **dict.fromkeys(["rows", "heads", "q_stride", "slot_stride", "head_stride"], "i32"),
    "scale_log2": "fp32",
}
COMBINE = {"part_ptr": "*fp32", "lse_ptr": "*fp32", "out_ptr": "*{dtype}", "entries": "i32"}
APPEND = {
    **dict.fromkeys(["k_ptr", "v_ptr", "k_cache_ptr", "v_cache_ptr"], "*{dtype}"),
    **dict.fromkeys(["length_ptr", "table_ptr"], "*i32"),
    **dict.fromkeys(["new", "row_size", "max_pages"], "i32"),
}
ATTEND_PAGES = {
    **dict.fromkeys(["q_ptr", "k_ptr", "v_ptr"], "*{dtype}"),
    **dict.fromkeys(["length_ptr", "table_ptr"], "*i32"),
    "lse_ptr": "*fp32",
    **dict.fromkeys(["batch", "queries", "heads", "kv_heads", "added", "max_pages"], "i32"),
    "scale_log2": "fp32",
}
PICK = {
    "logits_ptr": "*{dtype}",
    "masks_ptr": "*u8",
    "rules_ptr": "*i32",
    "token_ptr": "*i64",
    **dict.fromkeys(["log_probability_ptr", "end_of_text_ptr"], "*fp32"),
    **dict.fromkeys(["vocab", "row_stride", "end_of_text", "timestamp_begin"], "i32"),
}
LOG_MEL = {
    "ring_ptr": "*fp32",
    **dict.fromkeys(["begin_ptr", "end_ptr", "slot_ptr", "centre_ptr"], "*i32"),
    **dict.fromkeys(["basis_ptr", "filter_ptr", "out_ptr"], "*fp32"),
    **dict.fromkeys(["frames", "capacity", "bins"], "i32"),
    "floor": "fp32",
}


def compile_for(
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, int],
    architecture: int,
    warps: int = 4,
    stages: int = 3,
) -> None:
    """Compile as the launcher would for tensors that start at a multiple of 16 bytes."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = {**signature, **dict.fromkeys(constants, "constexpr")}
    ordered = {name: names[name] for name in kernel.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, kind in enumerate(ordered.values())
        if kind.startswith("*")
    }
    source = ASTSource(kernel, ordered, dict(constants), aligned)
    target = GPUTarget("cuda", architecture, 32)
    options = {"num_warps": warps, "num_stages": stages}
    compiled = triton.compile(source, target=target, options=options)
    assert compiled.asm["cubin"].startswith(b"\x7fELF")
    assert compiled.metadata.shared <= SHARED_BYTES[architecture]
    assert (compiled.metadata.tmem_size or 0) <= TENSOR_COLUMNS


@pytest.fixture(autouse=True)
def _compile_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def typed(signature: Mapping[str, str], dtype: str) -> dict[str, str]:
    return {name: kind.format(dtype=dtype) for name, kind in signature.items()}


@pytest.mark.parametrize(("dtype", "architecture"), TYPES)
@pytest.mark.parametrize("rows", [1, 16])
def test_slot_attention(dtype: str, architecture: int, rows: int) -> None:
    from kernels.triton.slot_attention import attend_kernel, combine_kernel

    shape = {"BLOCK_ROWS": rows, "BLOCK_KEYS": 64, "DIM": 64}
    for splits, out in ((1, dtype), (8, "fp32")):
        signature = {**typed(ATTEND, dtype), "out_ptr": f"*{out}"}
        compile_for(attend_kernel, signature, {**shape, "SPLITS": splits}, architecture)
    shape = {"HEAD_DIM": 64, "DIM": 64, "SPLITS": 8}
    compile_for(combine_kernel, typed(COMBINE, dtype), shape, architecture, warps=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("head_dim", [64, 80, 256])
@pytest.mark.parametrize("queries", [1, 512])
def test_paged_attention(architecture: int, head_dim: int, queries: int) -> None:
    """In half precision, which is what exllamav2 computes in; eight query heads to a group."""
    from kernels.paged_attention import PAGE
    from kernels.triton import paged_attention as paged
    from kernels.triton.slot_attention import combine_kernel

    dim = 1 << (head_dim - 1).bit_length()
    rows, warps, stages = paged.tile_shape(queries * 8, dim)
    shape = {
        "GROUP": 8,
        "BLOCK_ROWS": rows,
        "BLOCK_KEYS": paged.BLOCK_KEYS,
        "PAGE": PAGE,
        "HEAD_DIM": head_dim,
        "DIM": dim,
    }
    for splits, out in ((1, "fp16"), (8, "fp32")):
        signature = {**typed(ATTEND_PAGES, "fp16"), "out_ptr": f"*{out}"}
        constants = {**shape, "SPLITS": splits}
        compile_for(paged.attend_pages_kernel, signature, constants, architecture, warps, stages)
    shape = {"PAGE": PAGE, "BLOCK": 1024}
    compile_for(paged.append_kernel, typed(APPEND, "fp16"), shape, architecture)
    shape = {"HEAD_DIM": head_dim, "DIM": dim, "SPLITS": 32}
    warps = paged.joining_warps(dim)
    compile_for(combine_kernel, typed(COMBINE, "fp16"), shape, architecture, warps)


@pytest.mark.parametrize(("dtype", "architecture"), TYPES)
def test_token_pick(dtype: str, architecture: int) -> None:
    from kernels.triton.token_pick import BLOCK_TOKENS, pick_kernel

    compile_for(pick_kernel, typed(PICK, dtype), {"BLOCK": BLOCK_TOKENS}, architecture, 8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_mel(architecture: int) -> None:
    from kernels.triton import log_mel

    shape = {
        "N_FFT": log_mel.N_FFT,
        "FFT_BINS": log_mel.PADDED_BINS,
        "MEL_BINS": 128,  # 80 bins are padded to as many
        "BLOCK_FRAMES": log_mel.BLOCK_FRAMES,
        "BLOCK_SAMPLES": log_mel.BLOCK_SAMPLES,
        "BLOCK_BINS": log_mel.BLOCK_BINS,
    }
    compile_for(log_mel.log_mel_kernel, LOG_MEL, shape, architecture)
