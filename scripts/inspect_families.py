"""`growthpath inspect` against NumPy, for small seeded models of every family that transformers builds.

For each model the logit matrix of every head is measured from outside: hooks take attention's input, and the model's own
projections, run in float64, give queries and keys; M is what they do to unit vectors. Nothing is read from the checkpoint's
layout. The factor that YaRN and LongRoPE put on rotated numbers is asked of the model's rotary module.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

BIN = sys.argv[1]
D, L, H, KV, DH, V = 32, 3, 4, 2, 8, 64
SIZES = dict(vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=H, num_key_value_heads=KV,
             intermediate_size=48, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MHA = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
GPT = dict(vocab_size=V, n_embd=D, n_layer=L, n_head=H, n_positions=64, bos_token_id=1, eos_token_id=2)
WIDE = dict(head_dim=16)  # head_dim != d / H
YARN = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)
MSCALE = dict(YARN, mscale=0.7, mscale_all_dim=1.2)
FACTORS = [1.0] * 4
LONG = dict(rope_type="longrope", rope_theta=1e4, short_factor=FACTORS, long_factor=FACTORS, original_max_position_embeddings=16, factor=4.0)


# How each module makes queries and keys of its input: a function of (attention module, x) -> (q, k), `(n, heads, d_h)` each.
def separate(q="q_proj", k="k_proj"):
    def make(m, x):
        return m.get_submodule(q)(x), m.get_submodule(k)(x)
    return make


def blocks(name, kv=None):
    def make(m, x):
        y, h = m.get_submodule(name)(x), H * DH
        kd = h if kv is None else kv * DH
        return y[:, :h], y[:, h : h + kd]
    return make


def per_head(name):
    def make(m, x):
        y = m.get_submodule(name)(x).view(len(x), H, 3, DH)
        return y[:, :, 0].reshape(len(x), -1), y[:, :, 1].reshape(len(x), -1)
    return make


def grouped(name, kv):
    def make(m, x):
        y = m.get_submodule(name)(x).view(len(x), kv, H // kv + 2, DH)
        return y[:, :, :-2].reshape(len(x), -1), y[:, :, -2].reshape(len(x), -1)
    return make


class Case:
    """One model: its type and configuration, how to see its queries and keys, and what inspect must say."""

    def __init__(self, name, model_type, options, make=separate(), attention="self_attn", layers="layers", scale=None,
                 refuse=None, bilinear=True, rope=True, norm="input_layernorm", plus=0.0, auto=AutoModelForCausalLM):
        self.__dict__.update(locals())


CASES = [
    Case("gpt2", "gpt2", GPT, blocks("c_attn"), "attn", "h", rope=False, norm="ln_1"),
    Case("gpt2, scale 1 and by layer", "gpt2", dict(GPT, scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True), blocks("c_attn"),
         "attn", "h", scale=lambda l: 1 / (l + 1), rope=False, norm="ln_1"),
    Case("gpt_neox", "gpt_neox", SIZES, per_head("query_key_value"), "attention"),
    Case("llama", "llama", SIZES),
    Case("llama, wide heads", "llama", dict(SIZES, **WIDE)),
    Case("llama, biases", "llama", dict(SIZES, attention_bias=True)),
    Case("llama, YaRN", "llama", dict(SIZES, rope_parameters=YARN)),
    Case("llama, YaRN mscale", "llama", dict(SIZES, rope_parameters=MSCALE)),
    Case("mistral", "mistral", dict(SIZES, **WIDE)),
    Case("mixtral", "mixtral", dict(SIZES, num_local_experts=2)),
    Case("qwen2", "qwen2", SIZES),
    Case("qwen3", "qwen3", dict(SIZES, **WIDE), bilinear=False),
    Case("gemma", "gemma", dict(SIZES, **WIDE), plus=1.0),
    Case("gemma2", "gemma2", dict(SIZES, head_dim=16, query_pre_attn_scalar=24), scale=lambda l: 24**-0.5, plus=1.0),
    Case("gemma3_text", "gemma3_text", dict(SIZES, head_dim=16, query_pre_attn_scalar=24), scale=lambda l: 24**-0.5, bilinear=False, plus=1.0),
    Case("olmo", "olmo", SIZES, norm=None),
    Case("olmo, clipped", "olmo", dict(SIZES, clip_qkv=2.0), bilinear=False, norm=None),
    Case("olmo2", "olmo2", SIZES, bilinear=False, norm=None),
    Case("exaone4", "exaone4", dict(SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"]), bilinear=False,
         rope=[True, False, True], norm=None),
    Case("smollm3", "smollm3", dict(SIZES, no_rope_layers=[1, 0, 1]), rope=[True, False, True]),
    Case("phi", "phi", dict(SIZES, partial_rotary_factor=0.5)),
    Case("phi, QK-norm", "phi", dict(SIZES, qk_layernorm=True), bilinear=False),
    Case("phi3", "phi3", SIZES, blocks("qkv_proj", KV)),
    Case("phi3, LongRoPE", "phi3", dict(SIZES, rope_parameters=LONG, original_max_position_embeddings=16), blocks("qkv_proj", KV)),
    Case("phi, YaRN on half a head", "phi", dict(SIZES, rope_parameters=dict(YARN, partial_rotary_factor=0.5))),
    Case("falcon, new", "falcon", dict(SIZES, num_kv_heads=KV, new_decoder_architecture=True), grouped("query_key_value", KV), "self_attention", "h",
         norm="ln_attn"),
    Case("falcon, one key head", "falcon", dict(SIZES, new_decoder_architecture=False, multi_query=True), blocks("query_key_value", 1), "self_attention", "h"),
    Case("falcon, ALiBi", "falcon", dict(SIZES, new_decoder_architecture=False, multi_query=False, alibi=True, bias=True), per_head("query_key_value"),
         "self_attention", "h", rope=False),
    Case("bloom", "bloom", dict(vocab_size=V, hidden_size=D, n_layer=L, n_head=H), per_head("query_key_value"), "self_attention", "h", rope=False),
    Case("gptj", "gptj", dict(GPT, rotary_dim=4), separate(), "attn", "h", norm="ln_1"),
    Case("gpt_neo", "gpt_neo", dict(vocab_size=V, hidden_size=D, num_layers=L, num_heads=H, attention_types=[[["global"], L]], max_position_embeddings=64),
         separate(), "attn.attention", "h", scale=lambda l: 1.0, rope=False, norm="ln_1"),
    Case("gpt_bigcode", "gpt_bigcode", dict(GPT, multi_query=True), blocks("c_attn", 1), "attn", "h", rope=False, norm="ln_1"),
    Case("gpt_bigcode, many keys", "gpt_bigcode", dict(GPT, multi_query=False), per_head("c_attn"), "attn", "h", rope=False, norm="ln_1"),
    Case("opt", "opt", dict(MHA, ffn_dim=48, word_embed_proj_dim=D), rope=False, norm="self_attn_layer_norm"),
    Case("granite", "granite", dict(SIZES, attention_multiplier=0.03), scale=lambda l: 0.03),
    Case("cohere", "cohere", SIZES),
    Case("cohere2", "cohere2", dict(SIZES, layer_types=["sliding_attention", "full_attention", "sliding_attention"]), rope=[True, False, True]),
    Case("stablelm", "stablelm", SIZES),
    Case("stablelm, QK-norm", "stablelm", dict(SIZES, qk_layernorm=True), bilinear=False),
    Case("starcoder2", "starcoder2", SIZES),
    Case("nemotron", "nemotron", SIZES, plus=1.0),
    Case("glm", "glm", dict(SIZES, head_dim=8, attention_bias=True)),
    Case("mpt", "mpt", dict(vocab_size=V, d_model=D, n_layers=L, n_heads=H, max_seq_len=64), blocks("Wqkv"), "attn", "blocks", rope=False, norm="norm_1"),
    Case("persimmon", "persimmon", dict(SIZES, qk_layernorm=False), per_head("query_key_value")),
    Case("gpt_oss", "gpt_oss", dict(SIZES, head_dim=8, num_local_experts=2, num_experts_per_tok=1,
         rope_parameters=dict(rope_type="default", rope_theta=1e4))),
    Case("bert", "bert", MHA, separate("self.query", "self.key"), "attention", "layer", rope=False, norm=None, auto=AutoModel),
    Case("deepseek_v3", "deepseek_v3", dict(SIZES, n_routed_experts=4, n_group=2, topk_group=1, num_experts_per_tok=2, moe_intermediate_size=16, kv_lora_rank=8,
         q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8, num_key_value_heads=H), refuse="multi-head latent attention"),
    Case("deepseek_v2", "deepseek_v2", dict(SIZES, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4,
         qk_nope_head_dim=4, v_head_dim=8, num_key_value_heads=H), refuse="multi-head latent attention"),
    Case("mamba", "mamba", dict(vocab_size=V, hidden_size=D, num_hidden_layers=L), refuse="no attention logits"),
    Case("t5", "t5", dict(vocab_size=V, d_model=D, num_layers=L, num_heads=H, d_kv=DH, d_ff=48), refuse="encoder-decoder", auto=transformers.AutoModelForSeq2SeqLM),
    Case("electra", "electra", dict(MHA, embedding_size=D), refuse="`electra` is not known", auto=AutoModel),
]


def config_of(case):
    """The configuration, with options that this version of the class takes."""
    return AutoConfig.for_model(case.model_type, **case.options)


def layers_of(model, case):
    """The model's list of layers."""
    for name, module in model.named_modules():
        if name.split(".")[-1] == case.layers and isinstance(module, torch.nn.ModuleList):
            return module
    raise SystemExit(f"{case.name}: no list of layers called {case.layers}")


def seeded(model):
    """Weights of a size that shows every mistake; gains away from 1, biases away from 0."""
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float32) * 0.2 + (1.0 if p.ndim == 1 and p.shape[0] == D and p.mean() > 0.5 else 0.0))


def expected(case, model):
    """Spectral norms `[layer][head]` of the weights alone, of the augmented ones, and of the folded weights."""
    config = config_of(case)
    # The width of a head, where a configuration has one of its own.
    width = getattr(config, "head_dim", None) or DH
    plain, augmented, folded = [], [], []
    rotary = next((m for m in model.modules() if isinstance(getattr(m, "attention_scaling", None), float)), None)
    factor, turned = (rotary.attention_scaling, 2 * rotary.inv_freq.numel()) if rotary else (1.0, 0)
    for l, layer in enumerate(layers_of(model, case)):
        module = layer.get_submodule(case.attention)
        with torch.no_grad():
            x = torch.cat([torch.zeros(1, D), torch.eye(D)]).double()
            q, k = (t.numpy() for t in case.make(module.double(), x))
        kv = k.shape[1] // width
        split = lambda t, n: t.reshape(D + 1, n, width)
        q, k = split(q, H), split(k, kv)
        bq, bk = q[0], k[0]
        q, k = q[1:] - bq, k[1:] - bk
        rope = case.rope if isinstance(case.rope, bool) else case.rope[l]
        if rope:
            for t in (q, k, bq, bk):
                t[..., :turned] *= factor
        s = case.scale(l) if case.scale else width**-0.5
        top = lambda a, b: np.linalg.svd(a @ b.T * s, compute_uv=False)[0]
        plain.append([top(q[:, h], k[:, h * kv // H]) for h in range(H)])
        low = lambda w, b: np.vstack([w, b[None]])
        key = lambda h: bk[h * kv // H] * (1.0 if rope else 0.0)
        augmented.append([top(low(q[:, h], bq[h]), low(k[:, h * kv // H], key(h))) for h in range(H)])
        gain = np.ones(D)
        if case.norm:
            norm = layer.get_submodule(case.norm)
            gain = norm.weight.detach().double().numpy() + case.plus
        folded.append([top(gain[:, None] * q[:, h], gain[:, None] * k[:, h * kv // H]) for h in range(H)])
    return plain, augmented, folded


def inspect(*arguments):
    p = subprocess.run([BIN, "inspect", *map(str, arguments), "--json"], capture_output=True, text=True)
    return p.returncode, json.loads(p.stdout)[0] if p.returncode == 0 else p.stderr.strip()


def worst(got, want):
    got, want = np.array(got, float), np.array(want, float)
    return np.inf if got.shape != want.shape else np.abs(got / want - 1).max()


def check(case, folder):
    """What is wrong, or None; and what to print."""
    torch.manual_seed(0)
    config = config_of(case)
    model = case.auto.from_config(config).float()
    seeded(model)
    model.save_pretrained(folder)
    rc, got = inspect(folder)
    if case.refuse:
        ok = rc == 1 and case.refuse in got
        return (None if ok else f"not refused with `{case.refuse}`: {got}"), "refused"
    if rc:
        return got, ""
    plain, augmented, folded = expected(case, model)
    if got["bilinear"] != case.bilinear:
        return f"bilinear is {got['bilinear']}", ""
    norm = lambda key: [[h["spectral_norm"] for h in l[key] or l["heads"]] for l in got["layers"]]
    ropes = [l["rope"] for l in got["layers"]]
    if ropes != ([case.rope] * L if isinstance(case.rope, bool) else case.rope):
        return f"rope is {ropes}", ""
    rc, fold = inspect(folder, "--fold-norms")
    if rc:
        return fold, ""
    errors = [worst(norm("heads"), plain), worst(norm("augmented"), augmented),
              worst([[h["spectral_norm"] for h in l["heads"]] for l in fold["layers"]], folded)]
    # Float32 weights are read exactly; float64 SVDs agree far below this.
    bad = [e for e in errors if not e <= 1e-6]
    text = " ".join(f"{e:.0e}" for e in errors)
    return (f"relative errors {text}" if bad else None), text + ("" if case.bilinear else "  (not bilinear)")


def main():
    transformers.utils.logging.disable_progress_bar()
    failed = 0
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            wrong, text = check(case, Path(folder))
        failed += wrong is not None
        print(f"{case.name:28} {'ok    ' + text if wrong is None else 'FAILED ' + wrong}", flush=True)
    print(f"{len(CASES) - failed} of {len(CASES)} right or refused")
    sys.exit(failed > 0)


main()
