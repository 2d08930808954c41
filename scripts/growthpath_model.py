"""A growthpath checkpoint in NumPy, float64: parameters by their Hugging Face names, and the forward pass.

Written from the definition of the models alone, apart from the Rust code that it is held against.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


class Model:
    """Parameters of one checkpoint folder (model.safetensors, config.json), as float64."""

    def __init__(self, folder):
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text())
        if "growthpath" not in config:
            raise SystemExit(f"{folder}: config.json has no `growthpath` section: not a checkpoint of growthpath")
        self.c = config["growthpath"]
        arrays = load_file(folder / "model.safetensors")
        self.p = {name: a.astype(np.float64) for name, a in arrays.items()}
        self.gpt = self.c["family"] == "gpt"
        self.heads = self.c["heads"]
        self.head_dim = self.c["width"] // self.c["heads"]

    def get(self, name):
        """A parameter, or None."""
        return self.p.get(name)

    def linear(self, x, name):
        """x W + b; GPT-2 stores W input-major (Conv1D), LLaMA output-major."""
        w = self.p[f"{name}.weight"]
        y = x @ (w if self.gpt else w.T)
        b = self.get(f"{name}.bias")
        return y if b is None else y + b

    def norm(self, h, name):
        """LayerNorm or RMSNorm with gain, and bias where there is one."""
        if self.c["norm"] == "layernorm":
            h = h - h.mean(-1, keepdims=True)
        x = h / np.sqrt((h * h).mean(-1, keepdims=True) + self.c["norm_eps"]) * self.p[f"{name}.weight"]
        b = self.get(f"{name}.bias")
        return x if b is None else x + b

    def query_key(self, layer):
        """W_Q and W_K of a layer, `(d, d)` each, and their biases (None without)."""
        d = self.c["width"]
        if self.gpt:
            w, b = self.p[f"transformer.h.{layer}.attn.c_attn.weight"], self.get(f"transformer.h.{layer}.attn.c_attn.bias")
            cut = lambda i: (w[:, i * d : (i + 1) * d], None if b is None else b[i * d : (i + 1) * d])
        else:
            name = f"model.layers.{layer}.self_attn."
            side = "qkv"
            cut = lambda i: (self.p[f"{name}{side[i]}_proj.weight"].T, self.get(f"{name}{side[i]}_proj.bias"))
        return cut(0), cut(1)

    def split(self, y):
        """`(n, T, d)` to `(n, H, T, d_h)`."""
        n, t, _ = y.shape
        return y.reshape(n, t, self.heads, self.head_dim).transpose(0, 2, 1, 3)

    def rotate(self, y):
        """Rotary positions in the rotate-half convention; y `(..., T, d_h)`."""
        if self.c["pos"] != "rope":
            return y
        half = self.head_dim // 2
        frequency = self.c["rope_base"] ** (-2.0 * np.arange(half) / self.head_dim)
        angle = np.arange(y.shape[-2])[:, None] * frequency
        cos, sin = np.cos(angle), np.sin(angle)
        a, b = y[..., :half], y[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, x, layer):
        """Attention write of a layer."""
        n, t, d = x.shape
        if self.gpt:
            q, k, v = np.split(self.linear(x, f"transformer.h.{layer}.attn.c_attn"), 3, axis=-1)
            out = f"transformer.h.{layer}.attn.c_proj"
        else:
            name = f"model.layers.{layer}.self_attn."
            q, k, v = (self.linear(x, f"{name}{s}_proj") for s in "qkv")
            out = f"{name}o_proj"
        q, k, v = self.rotate(self.split(q)), self.rotate(self.split(k)), self.split(v)
        s = q @ k.swapaxes(-1, -2) / np.sqrt(self.head_dim)
        s = np.where(np.tri(t, dtype=bool), s, -np.inf)
        a = np.exp(s - s.max(-1, keepdims=True))
        a /= a.sum(-1, keepdims=True)
        return self.linear((a @ v).transpose(0, 2, 1, 3).reshape(n, t, d), out)

    def ffn(self, x, layer):
        """Feed-forward write of a layer."""
        if self.gpt:
            name = f"transformer.h.{layer}.mlp."
            gate, up, down = f"{name}c_gate", f"{name}c_fc", f"{name}c_proj"
        else:
            name = f"model.layers.{layer}.mlp."
            gate, up, down = f"{name}gate_proj", f"{name}up_proj", f"{name}down_proj"
        kind = self.c["ffn"]
        gelu = lambda z: 0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3)))
        silu = lambda z: z / (1.0 + np.exp(-z))
        relu = lambda z: np.maximum(z, 0.0)
        plain = {"gelu": gelu, "relu": relu, "relu2": lambda z: relu(z) ** 2, "silu": silu}
        gated = {"geglu": gelu, "swiglu": silu, "reglu": relu, "bilinear": lambda z: z}
        if kind not in plain and kind not in gated:
            raise SystemExit(f"ffn {kind}: there is no NumPy form of it here; known: {', '.join([*plain, *gated])}")
        if kind in plain:
            return self.linear(plain[kind](self.linear(x, up)), down)
        return self.linear(gated[kind](self.linear(x, gate)) * self.linear(x, up), down)

    def attention_inputs(self, tokens):
        """Attention input of every layer, gain and bias of the norm included: a list of `(n, T, d)`."""
        if self.c["qk_norm"]:
            raise SystemExit("a run with QK-norm has no probe rows to recompute")
        wte, wpe = ("transformer.wte", "transformer.wpe") if self.gpt else ("model.embed_tokens", "model.embed_positions")
        h = self.p[f"{wte}.weight"][tokens]
        if self.c["pos"] == "learned":
            h = h + self.p[f"{wpe}.weight"][: tokens.shape[1]]
        inputs = []
        for l in range(self.c["layers"]):
            prefix = f"transformer.h.{l}." if self.gpt else f"model.layers.{l}."
            first, second = ("ln_1", "ln_2") if self.gpt else ("input_layernorm", "post_attention_layernorm")
            x = self.norm(h, prefix + first)
            inputs.append(x)
            h = h + self.attention(x, l)
            h = h + self.ffn(self.norm(h, prefix + second), l)
        return inputs
