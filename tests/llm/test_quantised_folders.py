"""Folders in EXL2 and GPTQ, as far as they can go without CUDA: to where weights are loaded.

The library's own configuration and layers, which look for a quantised layer's parts by name.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from exllama_fakes import TEMPLATE
from real_exllama import on_a_cpu
from safetensors.torch import save_file
from torch import Tensor

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm.load import load

pytestmark = pytest.mark.skipif(find_spec("exllamav2") is None, reason="needs exllamav2")

SIZE, VOCAB = 64, 32
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": SIZE,
    "intermediate_size": SIZE,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXL2 = {"quant_method": "exl2", "version": "0.3.2", "bits": 4.0, "head_bits": 6}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": SIZE, "checkpoint_format": "gptq_v2"}


def exl2_layer(name: str) -> dict[str, Tensor]:
    """Four bits a weight, one group of all rows."""
    return {
        f"{name}.q_weight": torch.zeros(SIZE * 4 // 32, SIZE, dtype=torch.int32),
        f"{name}.q_invperm": torch.arange(SIZE, dtype=torch.int16),
        f"{name}.q_scale": torch.zeros(1, SIZE // 8, dtype=torch.int32),
        f"{name}.q_scale_max": torch.zeros(1, dtype=torch.float16),
        f"{name}.q_groups": torch.tensor([4, 0], dtype=torch.int16),
    }


def gptq_layer(name: str) -> dict[str, Tensor]:
    return {
        f"{name}.qweight": torch.zeros(SIZE // 8, SIZE, dtype=torch.int32),
        f"{name}.qzeros": torch.zeros(1, SIZE // 8, dtype=torch.int32),
        f"{name}.scales": torch.zeros(1, SIZE, dtype=torch.float16),
        f"{name}.g_idx": torch.zeros(SIZE, dtype=torch.int32),
    }


def write(folder: Path, file: str, quantization: dict[str, Any]) -> None:
    layer = exl2_layer if quantization is EXL2 else gptq_layer
    table, norm = (torch.zeros(shape, dtype=torch.float16) for shape in ((VOCAB, SIZE), (SIZE,)))
    tensors = {"model.embed_tokens.weight": table, "lm_head.weight": table.clone()}
    for name in (
        "model.norm",
        *(f"model.layers.0.{n}_layernorm" for n in ("input", "post_attention")),
    ):
        tensors[f"{name}.weight"] = norm.clone()
    for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o"):
        tensors |= layer(f"model.layers.0.{name}_proj")
    for name in ("mlp.gate", "mlp.up", "mlp.down"):
        tensors |= layer(f"model.layers.0.{name}_proj")
    save_file(tensors, folder / file)
    config = CONFIG | {"quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))


@pytest.mark.parametrize(
    ("file", "quantization"),
    [
        ("output.safetensors", EXL2),
        ("output-00001-of-00001.safetensors", EXL2),
        ("gptq_model-4bit-128g.safetensors", GPTQ),
    ],
)
def test_quantised_folders_are_taken_as_the_library_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, quantization: dict[str, Any]
) -> None:
    write(tmp_path, file, quantization)
    reached = []

    def to_the_gpu(model: Any, cache: Any, progress: bool) -> None:
        reached.append(model.config)
        raise RuntimeError("here the weights would go to the GPU")

    with on_a_cpu(tmp_path):
        package, model = import_module("exllamav2"), import_module("exllamav2.model")
        cache = import_module("exllamav2.cache")
        monkeypatch.setattr(model.ExLlamaV2, "load_autosplit", to_the_gpu)
        monkeypatch.setattr(package, "ExLlamaV2", model.ExLlamaV2)
        monkeypatch.setattr(package, "ExLlamaV2Cache", cache.ExLlamaV2Cache)
        settings = EngineSettings(llm="exllamav2", llm_model=str(tmp_path))
        with pytest.raises(ModelError, match="go to the GPU"):
            load(settings, lambda: None)
    assert reached[0].checkpoint_offset_qzeros is (quantization is GPTQ)
