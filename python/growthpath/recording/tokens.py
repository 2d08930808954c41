"""`tokens.safetensors`: what is measured on, so that anybody can measure again."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import torch


def save_tokens(run: Path, tokens: torch.Tensor) -> None:
    """Writes inputs and targets ``[sequences, length]`` of u32, whole or not at all."""
    arrays = {}
    for name in ("probe", "reliance", "evaluation"):
        arrays[f"{name}.inputs"], arrays[f"{name}.targets"] = tokens[:, :-1], tokens[:, 1:]
    header, data, offset = {}, [], 0
    for name in sorted(arrays):
        bytes_ = arrays[name].cpu().numpy().astype("<u4").tobytes()
        header[name] = {"dtype": "U32", "shape": list(arrays[name].shape), "data_offsets": [offset, offset + len(bytes_)]}
        data.append(bytes_)
        offset += len(bytes_)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    temporary = run / "tokens.safetensors.tmp"
    with open(temporary, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(data))
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, run / "tokens.safetensors")
