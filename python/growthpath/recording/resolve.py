"""Finding attention in models that we know: by the shape of the module, never by position alone."""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

import torch
from torch import nn

from .layers import Layer, Projection, Rotary, Structure

KNOWN = (
    "GPT-2, nanoGPT, Llama, Mistral, Qwen2, Qwen3, Gemma, OLMo2, SmolLM, GPT-NeoX (Pythia), Phi-3, "
    "nn.MultiheadAttention, timm-style fused qkv"
)
NORMS = ("input_layernorm", "ln_1", "ln1", "norm1", "norm_1", "attn_norm", "attention_norm", "pre_attention_layernorm")
FEED_FORWARDS = ("mlp", "ffn", "feed_forward", "ff", "feedforward")
DOWNS = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "w2", "linear2", "proj_out", "o_proj")


class UnknownModel(ValueError):
    """No attention was found that a resolver knows."""


def _number(attention: nn.Module, *names: str) -> int | None:
    """A count by any of its names, on the module or on its config."""
    for owner in (attention, getattr(attention, "config", None)):
        for name in names:
            value = getattr(owner, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def _is_linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "LinearNoBias") and isinstance(module, nn.Linear)


def _is_conv1d(module: Any) -> bool:
    """GPT-2's projection, stored input-major."""
    return type(module).__name__ == "Conv1D" and getattr(module, "weight", None) is not None


def _rows(start: int, heads: int, head_dim: int):
    return lambda w: w[start : start + heads * head_dim].reshape(heads, head_dim, -1)


def _interleaved(heads: int, head_dim: int, part: int):
    """GPT-NeoX: query, key and value side by side within each head."""
    return lambda w: w.reshape(heads, 3, head_dim, -1)[:, part]


def _separate(name: str, a: nn.Module) -> Layer:
    heads = _number(a, "num_heads", "n_heads", "num_attention_heads", "n_head")
    head_dim = _number(a, "head_dim", "head_size", "d_head")
    rows_q, rows_k = a.q_proj.weight.shape[0], a.k_proj.weight.shape[0]
    if head_dim is None and heads:
        head_dim = rows_q // heads
    if not head_dim or rows_q % head_dim or rows_k % head_dim:
        raise UnknownModel(f"{name}: q_proj has {rows_q} rows, but the module does not say how wide a head is; give a mapping")
    q, k = rows_q // head_dim, rows_k // head_dim
    layer = Layer(
        name,
        a,
        Projection(a.q_proj, q, head_dim, _rows(0, q, head_dim)),
        Projection(a.k_proj, k, head_dim, _rows(0, k, head_dim)),
    )
    _qk_norm(layer, a)
    if layer.query_norm is not None:
        weight = getattr(layer.query_norm, "weight", None)
        layer.qk_norm = "whole" if weight is not None and weight.numel() == rows_q and q > 1 else "head"
    return layer


def _qk_norm(layer: Layer, a: nn.Module) -> None:
    """The norms of queries and keys, where there are any that do something."""
    own = lambda *names: next((m for n in names if isinstance(m := getattr(a, n, None), nn.Module) and not isinstance(m, nn.Identity)), None)
    layer.query_norm = own("q_norm", "q_layernorm", "query_norm", "query_layernorm")
    layer.key_norm = own("k_norm", "k_layernorm", "key_norm", "key_layernorm")
    if layer.query_norm is not None or layer.key_norm is not None:
        layer.qk_norm = "head"


def _fused(name: str, a: nn.Module, module: nn.Module, heads: int, kv_heads: int, head_dim: int, transposed=False) -> Layer:
    """Query rows first, then keys, then values."""
    rows = module.weight.shape[1 if transposed else 0]
    if rows != (heads + 2 * kv_heads) * head_dim:
        raise UnknownModel(f"{name}: {rows} fused rows are not {heads} query and 2 x {kv_heads} key and value heads of {head_dim}; give a mapping")
    return Layer(
        name,
        a,
        Projection(module, heads, head_dim, _rows(0, heads, head_dim), transposed=transposed),
        Projection(module, kv_heads, head_dim, _rows(heads * head_dim, kv_heads, head_dim), transposed=transposed),
    )


def _attention(name: str, a: nn.Module) -> tuple[str, Layer] | None:
    """The layer of a module that is attention of a kind we know; None for any other module."""
    if isinstance(a, nn.MultiheadAttention):
        if not a._qkv_same_embed_dim:
            raise UnknownModel(f"{name}: nn.MultiheadAttention with separate kdim or vdim; give a mapping")
        h, d = a.num_heads, a.head_dim
        of = lambda start: Projection(a, h, d, _rows(start, h, d), weight="in_proj_weight", bias="in_proj_bias")
        return "nn.MultiheadAttention", Layer(name, a, of(0), of(a.embed_dim))
    c_attn = getattr(a, "c_attn", None)
    if _is_conv1d(c_attn) or _is_linear(c_attn):
        heads = _number(a, "num_heads", "n_head", "num_attention_heads")
        transposed = _is_conv1d(c_attn)
        width = c_attn.weight.shape[0 if transposed else 1]
        if not heads or width % heads:
            raise UnknownModel(f"{name}: c_attn without a number of heads; give a mapping")
        family = "GPT-2" if transposed else "nanoGPT"
        return family, _fused(name, a, c_attn, heads, heads, width // heads, transposed)
    fused = getattr(a, "query_key_value", None)
    if _is_linear(fused):
        if not type(a).__name__.startswith("GPTNeoX"):
            raise UnknownModel(
                f"{name}: {type(a).__name__} has a query_key_value whose layout is not known (GPT-NeoX's is); give a mapping"
            )
        heads, width = _number(a, "num_attention_heads", "num_heads"), _number(a, "head_size", "head_dim")
        if heads is None or width is None:
            raise UnknownModel(f"{name}: query_key_value without a number of heads; give a mapping")
        of = lambda part: Projection(fused, heads, width, _interleaved(heads, width, part))
        return "GPT-NeoX", Layer(name, a, of(0), of(1))
    fused = getattr(a, "qkv_proj", None)
    if _is_linear(fused) and hasattr(a, "o_proj"):
        width = _number(a, "head_dim")
        heads, kv = _number(a, "num_heads", "num_attention_heads"), _number(a, "num_key_value_heads")
        if width is None or heads is None:
            raise UnknownModel(f"{name}: qkv_proj without a number of heads; give a mapping")
        return "Phi-3", _fused(name, a, fused, heads, kv or heads, width)
    fused = getattr(a, "qkv", None)
    if _is_linear(fused) and isinstance(getattr(a, "num_heads", None), int):
        width = fused.weight.shape[0] // 3 // a.num_heads
        layer = _fused(name, a, fused, a.num_heads, a.num_heads, width)
        _qk_norm(layer, a)
        return "timm", layer
    if _is_linear(getattr(a, "q_proj", None)) and _is_linear(getattr(a, "k_proj", None)):
        return "Llama-like", _separate(name, a)
    return None


def _child(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    for name in names:
        found = getattr(module, name, None)
        if isinstance(found, nn.Module):
            return found
    return None


def _surroundings(layer: Layer, block: nn.Module | None, notes: list[str]) -> None:
    """Block, norm, writes and hidden activation around an attention module."""
    if block is None:
        return
    layer.block, layer.attention_write = block, layer.attention
    after = _child(block, ("post_attention_layernorm",))
    if after is not None and _child(block, ("post_feedforward_layernorm",)) is not None:
        layer.attention_write = after  # OLMo2, Gemma2, Gemma3: the write is normalised before it is added
    else:
        gate = _child(block, ("post_attention_dropout", "resid_attn_dropout", "drop_path1", "dropout1", "ls1"))
        layer.attention_write = gate if gate is not None else layer.attention
    layer.norm = _child(block, NORMS)
    if isinstance(block, nn.TransformerEncoderLayer) and not block.norm_first:
        notes.append(f"{layer.name}: post-norm block: no stream shares")
        layer.block = layer.norm = None
    if layer.norm is not None and "Gemma" in type(layer.norm).__name__:
        layer.norm_offset = 1.0
    feed_forward = _child(block, FEED_FORWARDS)
    layer.down = _child(feed_forward if feed_forward is not None else block, DOWNS)
    config = getattr(layer.attention, "config", None)
    cap = getattr(layer.attention, "attn_logit_softcapping", None) or getattr(config, "attn_logit_softcapping", None)
    layer.softcap = cap is not None


def _one_write_a_block(layers: list[Layer], notes: list[str]) -> None:
    """A block with self-attention and cross attention has three writes, and the trace's two a layer do not hold them."""
    blocks = [id(l.block) for l in layers]
    for layer in layers:
        if layer.block is not None and blocks.count(id(layer.block)) > 1:
            notes.append(f"{layer.name}: several attention modules share its block: their residual writes are not recorded")
    for layer, block in zip(layers, blocks):
        if blocks.count(block) > 1:
            layer.block = layer.norm = None


def _rotary(model: nn.Module, layers: list[Layer]) -> tuple[Rotary | None, str | None]:
    """Base and width from the frequencies that the model holds."""
    found = [(n, m) for n, m in model.named_modules() if isinstance(getattr(m, "inv_freq", None), torch.Tensor)]
    if not found:
        return None, None
    name, module = found[0]
    frequencies = module.inv_freq.detach().double().cpu().flatten()
    if any(not torch.equal(m.inv_freq.detach().double().cpu().flatten(), frequencies) for _, m in found[1:]):
        return None, "its layers turn at different frequencies"
    if abs(float(getattr(module, "attention_scaling", 1.0)) - 1.0) > 1e-12:
        return None, f"{name} scales cosines and sines (attention_scaling)"
    dims = 2 * frequencies.numel()
    if dims > layers[0].head_dim or frequencies[0] != 1.0:
        return None, f"{name}: its frequencies are not base^(-2i/{dims})"
    base = math.exp(-math.log(float(frequencies[1])) * dims / 2) if dims > 2 else 10_000.0
    expected = base ** (-2.0 * torch.arange(dims // 2, dtype=torch.float64) / dims)
    if not torch.allclose(frequencies, expected, rtol=1e-5, atol=0.0):
        return None, f"{name}: its frequencies are scaled (rope_type other than default)"
    rounded = round(base)
    return Rotary(float(rounded) if abs(base - rounded) < 1e-4 * base else base, dims), None


def _check(layers: list[Layer]) -> None:
    shapes = {(l.heads, l.head_dim) for l in layers}
    if len(shapes) > 1:
        raise UnknownModel(f"layers differ in heads and head width {sorted(shapes)}: a trace has one number of heads; give a mapping of like layers")
    for l in layers:
        if l.heads % l.kv_heads:
            raise UnknownModel(f"{l.name}: {l.heads} query heads cannot share {l.kv_heads} key heads")


def resolve(model: nn.Module, mapping: Sequence[Mapping[str, Any]] | None = None) -> Structure:
    """Find the attention layers of ``model``, from the bottom; ``mapping`` names them instead (see :func:`mapped`).

    Raises :class:`UnknownModel`, naming what was found and the mend.
    """
    if mapping is not None:
        structure = mapped(model, mapping)
    else:
        modules = dict(model.named_modules())
        families, layers, notes = [], [], []
        for name, module in modules.items():
            if type(module).__name__.endswith("CrossAttention") or hasattr(module, "q_attn"):
                notes.append(f"{name}: cross attention is not recorded; name its layers with mapping=[...] to record them")
                continue
            found = _attention(name, module)
            if found is None:
                continue
            family, layer = found
            _surroundings(layer, modules.get(name.rpartition(".")[0]) if "." in name else None, notes)
            families.append(family)
            layers.append(layer)
        if not layers:
            like = sorted({type(m).__name__ for m in modules.values() if "attn" in type(m).__name__.lower() or "attention" in type(m).__name__.lower()})
            seen = f"it has {', '.join(like)}" if like else "no module of it is named like attention"
            raise UnknownModel(f"{type(model).__name__}: no attention that is known ({seen}). Known: {KNOWN}. Give mapping=[...] for others")
        _one_write_a_block(layers, notes)
        structure = Structure(" + ".join(sorted(set(families))), layers, notes=notes)
    _check(structure.layers)
    structure.rotary, structure.rotary_problem = _rotary(model, structure.layers)
    return structure


def mapped(model: nn.Module, mapping: Sequence[Mapping[str, Any]]) -> Structure:
    """Layers named by hand, one dictionary a layer from the bottom: ``attention``, ``query`` and ``key`` are paths of
    modules (the latter two with an output-major ``weight`` ``[heads * head_dim, d]``), ``heads`` is a number; ``kv_heads``,
    ``block``, ``attention_write``, ``norm`` and ``down`` may be given, ``query_rows`` and ``key_rows`` name the first row
    of each in a fused matrix."""
    modules = dict(model.named_modules())

    def module(entry: Mapping[str, Any], key: str, default: nn.Module | None = None) -> nn.Module | None:
        path = entry.get(key)
        if path is None:
            return default
        if path not in modules:
            raise UnknownModel(f"mapping: {key}: the model has no module `{path}`")
        return modules[path]

    layers = []
    for entry in mapping:
        unknown = set(entry) - {"attention", "query", "key", "heads", "kv_heads", "block", "attention_write", "norm", "down", "query_rows", "key_rows", "head_dim"}
        missing = {"attention", "query", "key", "heads"} - set(entry)
        if unknown or missing:
            raise UnknownModel(f"mapping: unknown {sorted(unknown)}, missing {sorted(missing)}")
        attention, q, k = module(entry, "attention"), module(entry, "query"), module(entry, "key")
        heads, kv = entry["heads"], entry.get("kv_heads", entry["heads"])
        fused = q is k
        width = entry.get("head_dim") or q.weight.shape[0] // (heads + 2 * kv if fused else heads)
        first_q, first_k = entry.get("query_rows", 0), entry.get("key_rows", heads * width if fused else 0)
        for rows, first, count in ((q.weight.shape[0], first_q, heads), (k.weight.shape[0], first_k, kv)):
            if first + count * width > rows:
                raise UnknownModel(f"mapping: {entry['attention']}: {count} heads of {width} from row {first} need more than {rows} rows")
        layers.append(
            Layer(
                entry["attention"],
                attention,
                Projection(q, heads, width, _rows(first_q, heads, width)),
                Projection(k, kv, width, _rows(first_k, kv, width)),
                block=module(entry, "block"),
                attention_write=module(entry, "attention_write", attention),
                norm=module(entry, "norm"),
                down=module(entry, "down"),
            )
        )
    if not layers:
        raise UnknownModel("mapping: no layers")
    return Structure("mapping", layers)
