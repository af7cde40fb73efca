#!/usr/bin/env python3
"""Times one training step of a dense wide residual network on CIFAR in PyTorch, data excluded.

    pytorch_wrn.py --batch 128 --threads 2 --repeats 20

Forward, backward and an SGD step with momentum, Nesterov and L2, without dropout, channels-last, as `rigl bench step`
does it. The optimiser is the fused or the foreach one, whichever is faster here (`--optimizer` to choose). Prints one
JSON line: median, minimum and maximum in seconds, and the peak resident memory of the process, all of it.
`--compile` uses torch.compile if that works here.
"""
import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reference"))
from wide_resnet import WideResNet

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=22)
parser.add_argument("--width", type=int, default=2)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--warm-up", type=int, default=5, help="steps before the clock runs")
parser.add_argument("--repeats", type=int, default=20, help="steps that are timed")
parser.add_argument("--optimizer", choices=["faster", "foreach", "fused"], default="faster")
parser.add_argument("--contiguous", action="store_true", help="not channels-last")
parser.add_argument("--compile", action="store_true")
args = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(args.threads)
memory_format = torch.contiguous_format if args.contiguous else torch.channels_last
model = WideResNet(args.depth, args.width).to(memory_format=memory_format).train()
x = torch.randn(args.batch, 3, 32, 32).contiguous(memory_format=memory_format)
y = torch.randint(10, (args.batch,))
loss_of = torch.nn.CrossEntropyLoss()


def optimizer_of(kind):
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0},
    ]
    return torch.optim.SGD(groups, lr=1e-4, momentum=0.9, nesterov=True, **{kind: True})


def forward(x, y):
    return loss_of(model(x), y)


if args.compile:
    forward = torch.compile(forward)


def seconds(run):
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def choose():
    """Steps of both optimisers on the same gradients."""
    kinds = ["foreach", "fused"]
    if args.optimizer != "faster":
        return args.optimizer
    forward(x, y).backward()
    optimizers = {kind: optimizer_of(kind) for kind in kinds}
    times = {kind: [] for kind in kinds}
    for _ in range(11):
        for kind in kinds:
            times[kind].append(seconds(optimizers[kind].step))
    return min(kinds, key=lambda kind: statistics.median(times[kind]))


kind = choose()
optimizer = optimizer_of(kind)


def step():
    optimizer.zero_grad(set_to_none=True)
    forward(x, y).backward()
    optimizer.step()


for _ in range(args.warm_up):
    step()
times = [seconds(step) for _ in range(args.repeats)]
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "network": f"wrn-{args.depth}-{args.width}",
            "batch": args.batch,
            "threads": torch.get_num_threads(),
            "optimizer": kind,
            "compiled": args.compile,
            "median_s": statistics.median(times),
            "min_s": min(times),
            "max_s": max(times),
            "runs": len(times),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
