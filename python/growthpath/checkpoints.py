"""Series of checkpoints: any model that transformers loads, probed on the same tokens, one after the other."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Iterable

import numpy as np

from . import _native
from .reading import Run

_STEP = re.compile(r"(?:step|checkpoint|ckpt|iter|global_step)[-_]?0*(\d+)", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)$")


class SeriesError(ValueError):
    """The checkpoints, or the text, cannot be used together."""


def step_of(path: str | Path) -> tuple[Path, int]:
    """A checkpoint's folder and step: ``PATH@STEP``, its trainer_state.json, or a number in its name."""
    text = str(path)
    given, _, number = text.rpartition("@")
    if given and number.isdigit():
        return Path(given), int(number)
    folder = Path(text)
    state = folder / "trainer_state.json"
    if state.is_file():
        return folder, int(json.loads(state.read_text())["global_step"])
    for pattern in (_STEP, _DIGITS):
        found = pattern.findall(folder.name)
        if found:
            return folder, int(found[-1])
    raise SeriesError(f"{folder}: its name has no step; give it as {folder}@STEP")


def ordered(checkpoints: Iterable[str | Path]) -> list[tuple[int, Path]]:
    """Checkpoints by their steps, whatever order they came in."""
    found = []
    for given in checkpoints:
        folder, step = step_of(given)
        if not folder.is_dir():
            raise SeriesError(f"{folder}: no such folder; give folders that transformers' from_pretrained reads")
        if not (folder / "config.json").is_file():
            raise SeriesError(f"{folder}: it has no config.json; give folders that transformers' from_pretrained reads")
        found.append((step, folder))
    found.sort(key=lambda f: f[0])
    for (a, x), (b, y) in zip(found, found[1:]):
        if a == b:
            raise SeriesError(f"{x} and {y} are both step {a}: give each step once, or name steps as PATH@STEP")
    if len(found) < 2:
        raise SeriesError("a series needs at least two checkpoints")
    return found


def lags_of(steps: list[int]) -> tuple[list[int], int]:
    """Lags of maturity that the series holds, and the one that counts: the most frequent distance of neighbours."""
    differences = Counter(b - a for a, b in zip(steps, steps[1:]))
    main = min(differences, key=lambda d: (-differences[d], d))
    every = {b - a for i, a in enumerate(steps) for b in steps[i + 1 :]}
    return sorted(differences.keys() | ({main // 2, 2 * main} & every)), main


def read_tokens(source: str | Path, tokenizer_folder: Path, sequences: int, length: int) -> np.ndarray:
    """``[sequences, length + 1]`` token ids of a text, spread over it; or those of a .npy file."""
    source = Path(source)
    if source.suffix == ".npy":
        return np.load(source, allow_pickle=False)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    except Exception as error:
        raise SeriesError(f"{tokenizer_folder}: no tokenizer that transformers reads ({error}); give token ids as a .npy file") from error
    ids = tokenizer(source.read_text(encoding="utf-8"), add_special_tokens=False, verbose=False)["input_ids"]
    need = length + 1
    if len(ids) < sequences * need:
        raise SeriesError(f"{source}: {len(ids)} tokens, {sequences} sequences of {need} need {sequences * need}; give more text, or smaller --sequences or --length")
    starts = np.linspace(0, len(ids) - need, sequences).astype(int)
    return np.array([ids[s : s + need] for s in starts], np.int64)


def load(folder: Path, device: str) -> Any:
    """A checkpoint in float32, attention through scaled_dot_product_attention where the model has it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    options = {"dtype": torch.float32, "config": config}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", **options)
    except (ValueError, ImportError):
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
    return model.to(device).eval()


def series(
    checkpoints: Iterable[str | Path],
    text: str | Path,
    out: str | Path,
    *,
    sequences: int = 8,
    length: int = 128,
    reliance: bool = True,
    label: str = "",
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> Run:
    """Probe checkpoints on the same tokens and write a run: spreads, growth split and predicted, shares, maturity, losses
    and reliance at each; ``growthpath analyze``, ``plot`` and ``compare`` read it like any other.

    ``text``: a text file, or ``.npy`` with token ids ``[sequences, length + 1]``. Learning rates are not known to
    checkpoints: `eta` is 1 in every interval, and `u` holds the whole update.
    """
    from .recording.probes import Prober, check_tokens
    from .recording.resolve import resolve
    from .recording.tokens import save_tokens

    say = progress or (lambda line: None)
    found = ordered(checkpoints)
    steps = [step for step, _ in found]
    lags, main = lags_of(steps)
    tokens = check_tokens(read_tokens(text, found[0][1], sequences, length))
    prober: Prober | None = None
    writer: Any = None
    first_shape: dict[str, Any] = {}
    notes: Counter[str] = Counter()
    for index, (step, folder) in enumerate(found):
        started = time.perf_counter()
        model = load(folder, device)
        if int(tokens.max()) >= model.config.get_text_config().vocab_size:
            raise SeriesError(f"{folder}: its vocabulary has {model.config.get_text_config().vocab_size} entries, the text's largest token is {int(tokens.max())}; the tokenizer is another model's")
        structure = resolve(model)
        shape = {
            "class": type(model).__name__,
            "family": structure.family,
            "layers": len(structure.layers),
            "heads": structure.heads,
            "kv_heads": structure.layers[0].kv_heads,
            "head_dim": structure.head_dim,
            "qk_norm": structure.layers[0].qk_norm == "head",
        }
        if prober is None:
            first_shape = shape
            prober = Prober(model, structure, tokens, None, lags)
            writer = _native.Writer(str(out), json.dumps(_info(label, shape, steps, main, tokens, device, found)))
            save_tokens(Path(out), tokens)
        else:
            if shape != first_shape:
                raise SeriesError(f"{folder}: {shape} differs from the first checkpoint's {first_shape}: a series is of one model")
            prober.model, prober.structure, prober.checked = model, structure, False
        prober.probe(writer, step, [1.0] * len(structure.layers), 0)
        for what in (prober.status, prober.shares):
            if what != "on":
                notes[what] += 1
        if reliance:
            prober.reliance(writer, step, detail=index == len(found) - 1)
        del model, structure
        say(f"step {step}: {folder} ({time.perf_counter() - started:.1f} s)")
    assert prober is not None
    prober.native.settle(writer)
    coverage = {"checkpoints": len(found), "probes": prober.status, "shares": prober.shares, "problems": dict(notes)}
    writer.update(json.dumps({"extra": {"coverage": coverage}}))
    writer.finish("complete")
    if prober.off is not None:
        import warnings

        warnings.warn(f"growthpath: growth accounting: {prober.status}", stacklevel=2)
    return Run(out)


def _info(label: str, shape: dict, steps: list[int], main: int, tokens: Any, device: str, found: list) -> dict[str, Any]:
    import torch
    import transformers

    last = max(steps[-1], 1)
    probe = {
        "times": {"mode": "checkpoints"},
        "sequences": tokens.shape[0],
        "length": tokens.shape[1] - 1,
        "reliance_sequences": tokens.shape[0],
        "maturity_lag": main / last,
    }
    return {
        "label": label or Path(found[-1][1]).resolve().parent.name,
        "config": {"recorder": "growthpath series (Python)", "model": shape, "step_sizes": "not known", "probe": probe},
        "steps_planned": last,
        "layers": shape["layers"],
        "heads": shape["heads"],
        "telemetry_every": 0,
        "device": device,
        "versions": {"growthpath": _native.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "data_blake3": {"probe tokens": _native.blake3(tokens.numpy().tobytes())},
        "extra": {"series": [{"step": s, "path": str(p)} for s, p in found]},
    }
