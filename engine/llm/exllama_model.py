"""exllamav2 from a folder to a generator that is ready for jobs; what it needs, checked first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm.chat_template import named_tokens
from kernels.dispatch import operations_for
from kernels.paged_attention import PAGE

# Tokens of a prompt computed at a time: between two pieces running replies advance by a token.
_PROMPT_CHUNK_TOKENS = 512
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors")
_INSTEAD = "use --llm llamacpp, or --llm openai with a server elsewhere"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the backend works with. ``attention``: ``flash-attn``, ``triton`` or ``torch``.

    ``stop_ids`` are the tokens that end a reply; ``context_tokens`` what one reply may hold,
    its prompt included.
    """

    generator: Any
    tokenizer: Any
    new_job: Any
    new_sampler: Any
    attention: str
    stop_ids: frozenset[int]
    context_tokens: int


def require(settings: EngineSettings) -> None:
    """Raises ``ModelError`` that names what is missing, and what to use instead."""
    if settings.device == "cpu":
        raise ModelError(f"exllamav2 runs on CUDA only, and device is cpu: {_INSTEAD}")
    if not torch.cuda.is_available():
        build = "" if torch.version.cuda else f", because torch {torch.__version__} is for the CPU"
        raise ModelError(
            f"exllamav2 needs a CUDA device, and torch finds none{build}: {_INSTEAD} "
            "(`antiphon doctor --device cuda` says more)"
        )
    if find_spec("exllamav2") is None:
        raise ModelError(
            "exllamav2 is not installed: install `antiphon[cuda]`, take the container "
            f"(docs/DEPLOYMENT.md), or {_INSTEAD}"
        )


def model_folder(name: str) -> Path:
    """The folder of an EXL2, GPTQ or fp16 model. Raises ``ModelError``."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(
            f"exllamav2 needs the folder of an EXL2, GPTQ or fp16 model, and {name!r} is none: "
            "name it with --llm-model"
        )
    missing = [pattern for pattern in _FILES if not any(folder.glob(pattern))]
    if missing:
        raise ModelError(f"{folder} is not a model's folder: it has no {', '.join(missing)}")
    return folder


def load_exllama(settings: EngineSettings, folder: Path) -> Loaded:
    """Load weights and cache onto the GPU: seconds or minutes. Raises ``ModelError``."""
    require(settings)
    try:
        return _load(settings, folder)
    except ModelError:
        raise
    except Exception as error:  # the library asserts, and raises whatever comes
        reason = str(error).strip() or type(error).__name__
        raise ModelError(f"exllamav2 cannot load {folder}: {reason}") from error


def _load(settings: EngineSettings, folder: Path) -> Loaded:
    exllamav2, attn = import_module("exllamav2"), import_module("exllamav2.attn")
    generators = import_module("exllamav2.generator")
    attention = install_attention(attn)
    config = exllamav2.ExLlamaV2Config(str(folder))
    config.arch_compat_overrides(quiet=True)
    _mend_rope(config, folder)
    context = min(settings.llm_context_tokens, config.max_seq_len)
    if attention != "flash-attn":
        _refuse_special_attention(config, context)
    _size_buffers(config, context)
    model = exllamav2.ExLlamaV2(config)
    cache = exllamav2.ExLlamaV2Cache(
        model, max_seq_len=settings.llm_slots * _whole_pages(context), lazy=True
    )
    model.load_autosplit(cache, progress=False)
    tokenizer = exllamav2.ExLlamaV2Tokenizer(config)
    generator = generators.ExLlamaV2DynamicGenerator(
        model=model,
        cache=cache,
        tokenizer=tokenizer,
        max_batch_size=settings.llm_slots,
        max_chunk_size=config.max_input_len // PAGE * PAGE,
        max_q_size=1,  # no drafts: it sizes buffers for several tokens a step
        paged=True,
    )
    return Loaded(
        generator,
        tokenizer,
        generators.ExLlamaV2DynamicJob,
        generators.ExLlamaV2Sampler.Settings,
        attention,
        stop_ids(folder, tokenizer),
        context,
    )


def install_attention(attn: Any) -> str:
    """Give exllamav2's paged mode an attention function; flash-attn is left where it is.

    ``attn`` is the module ``exllamav2.attn``, whose two globals are all that it looks at. Returns
    which form it is.
    """
    if attn.has_flash_attn_with_paged and not hasattr(attn, "antiphon_attention"):
        return "flash-attn"
    operations = operations_for(torch.device("cuda"), torch.float16)
    attn.flash_attn_with_kvcache = operations.paged_attention
    attn.has_flash_attn_with_paged = True
    attn.antiphon_attention = operations.name  # another model in this process finds ours there
    return operations.name


def stop_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a reply: there may be several, and exllamav2 itself keeps one."""
    found = set()
    for name in ("config.json", "generation_config.json"):
        ids = _read_json(folder / name).get("eos_token_id")
        found |= set(ids) if isinstance(ids, list) else {ids}
    found.add(tokenizer.eos_token_id)
    if named := named_tokens(_read_json(folder / "tokenizer_config.json")).get("eos_token"):
        found.add(tokenizer.single_id(named))
    return frozenset(token for token in found if isinstance(token, int))


def _mend_rope(config: Any, folder: Path) -> None:
    """exllamav2 reads only a top-level ``rope_theta``; transformers 5 writes it one level down."""
    written = _read_json(folder / "config.json")
    nested = written.get("rope_parameters")
    if not isinstance(nested, dict):
        return
    if "rope_theta" not in written and "rope_theta" in nested:
        config.rotary_embedding_base = float(nested["rope_theta"])
    kind = nested.get("rope_type", "default")
    if kind != "default" and "rope_scaling" not in written:
        raise ModelError(
            f"{folder}/config.json scales positions ({kind}) in rope_parameters, where exllamav2 "
            "does not look: copy that object to a top-level rope_scaling, without its rope_theta"
        )


def _refuse_special_attention(config: Any, context: int) -> None:
    """Our attention has no sliding window and no soft cap; exllamav2 would pass them over."""
    windowed = config.arch.lm.swa or config.arch.lm.alternating_swa
    window = config.sliding_window or 0 if windowed else 0
    if config.attn_logit_softcapping or 0 < window < context:
        what = "soft-capped" if config.attn_logit_softcapping else f"a window of {window} tokens"
        raise ModelError(
            f"the model's attention is {what}, which needs flash-attn: install it, "
            f"{'' if config.attn_logit_softcapping else f'set --llm-context-tokens {window}, '}"
            f"or {_INSTEAD}"
        )


def _size_buffers(config: Any, context: int) -> None:
    """Working memory grows with these: no more than one piece of a prompt is ever computed.

    The loader tries each layer on ``max_input_len`` tokens, which the cache must hold.
    """
    config.max_seq_len = context
    config.max_input_len = min(_PROMPT_CHUNK_TOKENS, _whole_pages(context))
    config.max_attention_size = config.max_input_len**2


def _whole_pages(tokens: int) -> int:
    return -(-tokens // PAGE) * PAGE


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = json.loads(path.read_text("utf-8"))
    return content if isinstance(content, dict) else {}
