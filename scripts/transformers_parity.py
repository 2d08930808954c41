"""growthpath and the transformers library hold the same function for the same checkpoint, both ways.

usage: transformers_parity.py GROWTHPATH CHECKPOINT_LOGITS

Our GPT and LLaMA checkpoints open with AutoModelForCausalLM and AutoTokenizer; models that transformers made are trained on
with `train --init`. Logits of both programs on the same tokens, float32, differ by 1e-4 at most.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

BIN, LOGITS = sys.argv[1:3]
MOST = 1e-4
TEXT = "the king is dead, long live the king: no \u00e9 was lost\n"


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")


def train(out, *options):
    run(BIN, "train", "--steps", "2", "--probe-every", "2", "--reliance-sequences", "0", "--eval-sequences", "2", "--checkpoint-probes",
        "--quiet", "--device", "cpu", "--out", out, *options)


def ours(folder, checkpoint, tokens, key):
    out = folder / "logits.safetensors"
    run(LOGITS, checkpoint, tokens, key, out)
    return load_file(out)["logits"]


def theirs(model, ids):
    with torch.no_grad():
        return model.eval().float()(torch.from_numpy(ids.astype(np.int64))).logits.numpy()


def compare(name, a, b):
    worst = float(np.abs(a - b).max())
    print(f"{name:44} logits differ by {worst:.1e} (largest {np.abs(b).max():.2f})")
    if not worst <= MOST:
        raise SystemExit(f"{name}: {worst} exceeds {MOST}")


def check_tokenizer(checkpoint, text, vocab):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if len(tokenizer) != vocab:
        raise SystemExit(f"{checkpoint}: AutoTokenizer has {len(tokenizer)} entries, the embedding {vocab}")
    ids = tokenizer(text)["input_ids"]
    if tokenizer.decode(ids) != text or max(ids) >= vocab:
        raise SystemExit(f"{checkpoint}: AutoTokenizer changes the text: {tokenizer.decode(ids)!r}")
    return ids


def from_us(folder, preset, tokenizer, data):
    run_dir = folder / f"{preset}-{tokenizer.replace(':', '')}"
    train(run_dir, "--preset", preset, "--size", "nano", "--tokenizer", tokenizer, "--lr", "0.01", *data)
    checkpoint = run_dir / "checkpoints" / "step-2"
    vocab = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    ids = check_tokenizer(checkpoint, TEXT, vocab)
    if tokenizer == "bytes" and ids != list(TEXT.encode()):
        raise SystemExit(f"{checkpoint}: the tokens of bytes are not the bytes: {ids}")
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokens = run_dir / "tokens.safetensors"
    seen = load_file(tokens)["evaluation.inputs"]
    compare(f"{preset}, {tokenizer}: ours in transformers", ours(folder, checkpoint, tokens, "evaluation.inputs"), theirs(model, seen))


def from_them(folder, name, config, dtype, data, *options):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            # Gains and biases away from where they start: a lost one would show.
            p.add_(0.05 * torch.randn_like(p))
    checkpoint, run_dir = folder / f"{name}-checkpoint", folder / f"{name}-run"
    model.save_pretrained(checkpoint, max_shard_size="60KB")
    train(run_dir, "--init", checkpoint, "--tokenizer", "bytes", *data, *options)
    tokens = run_dir / "tokens.safetensors"
    seen = load_file(tokens)["evaluation.inputs"]
    start = ours(folder, run_dir / "checkpoints" / "step-0", tokens, "evaluation.inputs")
    compare(f"{name}: theirs after --init", start, theirs(model, seen))
    moved = ours(folder, run_dir / "checkpoints" / "step-2", tokens, "evaluation.inputs")
    if np.abs(moved - start).max() == 0.0:
        raise SystemExit(f"{name}: training did not move the model")


def refused(folder, config, says):
    checkpoint = folder / "refused"
    AutoModelForCausalLM.from_config(config).save_pretrained(checkpoint)
    done = subprocess.run([BIN, "train", "--init", str(checkpoint), "--tokenizer", "bytes", "--out", str(folder / "no")], capture_output=True, text=True)
    if done.returncode != 2 or says not in done.stderr or (folder / "no").exists():
        raise SystemExit(f"not refused with `{says}`: {done.returncode} {done.stderr}")
    print(f"refused: {done.stderr.strip().split(': ', 2)[-1][-110:]}")


def main():
    llama = dict(vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=64,
                 pad_token_id=None, bos_token_id=None, eos_token_id=None)
    gpt2 = dict(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=None, eos_token_id=None)
    make = AutoConfig.for_model
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = folder / "text.txt"
        text.write_text(TEXT * 400)
        data = ("--data", text)
        for preset in ("gpt", "llama"):
            for tokenizer in ("bytes", "bpe:300"):
                from_us(folder, preset, tokenizer, data)
        # GPT-2's embedding is padded past the tokenizer's 256 entries.
        from_them(folder, "gpt2", make("gpt2", **gpt2), torch.float32, data)
        from_them(folder, "gpt2-short", make("gpt2", **gpt2), torch.float32, data, "--set", "context=32")
        from_them(folder, "llama", make("llama", num_key_value_heads=4, **llama), torch.float32, data)
        from_them(folder, "llama-biases", make("llama", num_key_value_heads=4, attention_bias=True, mlp_bias=True, **llama), torch.float32, data)
        from_them(folder, "llama-tied", make("llama", num_key_value_heads=4, tie_word_embeddings=True, **llama), torch.float32, data)
        from_them(folder, "llama-bf16", make("llama", num_key_value_heads=4, **llama), torch.bfloat16, data)
        from_them(folder, "mistral", make("mistral", num_key_value_heads=4, sliding_window=None, **llama), torch.float32, data)
        refused(folder, make("llama", num_key_value_heads=2, **llama), "grouped-query")
        refused(folder, make("qwen2", num_key_value_heads=4, **llama), "qwen2")
        refused(folder, make("gpt2", activation_function="gelu", **gpt2), "activation_function")
    print("transformers parity: passed")


main()
