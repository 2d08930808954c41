"""Run by torchrun: the same training on one process, on several under DDP, and under FSDP2.

usage: distributed.py OUT ddp|fsdp|single
"""

import sys

import torch
import torch.distributed as dist

from conftest import tokens
from models import NanoGPT, loop

STEPS = 4


def main(out: str, kind: str) -> None:
    import growthpath

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = NanoGPT()
    rank, world = 0, 1
    if kind != "single":
        dist.init_process_group("gloo")
        rank, world = dist.get_rank(), dist.get_world_size()
    if kind == "ddp":
        model = torch.nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (world,))
        for block in model.h:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rec = growthpath.record(model, optimizer, out, probe_tokens=tokens(4, 32, 64, 9), steps=STEPS, probe_every=2, label=kind)
    batches = [tokens(8, 32, 64, i) for i in range(STEPS)]
    loop(model, optimizer, [b[rank::world] for b in batches])
    rec.close()
    if kind != "single":
        dist.barrier()  # rank 0 closes the record while the others are done: none takes the group down before it
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:3])
