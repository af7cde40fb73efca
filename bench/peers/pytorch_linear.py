#!/usr/bin/env python3
"""Times one training step of a dense network of linear layers in PyTorch, data excluded.

    pytorch_linear.py --layers 784-300-100-10 --batch 100 --threads 2 --seconds 3

Forward, backward and an SGD step with momentum, Nesterov and L2, as `rigl bench step` does it. Prints one JSON
line with the median, minimum and maximum in seconds. `--compile` uses torch.compile if that works here.
"""
import argparse
import json
import statistics
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--layers", default="784-300-100-10")
parser.add_argument("--batch", type=int, default=100)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seconds", type=float, default=3.0)
parser.add_argument("--compile", action="store_true")
args = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(args.threads)
sizes = [int(n) for n in args.layers.split("-")]
layers = []
for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
    if i:
        layers.append(torch.nn.ReLU())
    layers.append(torch.nn.Linear(inputs, outputs))
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.SGD(
    model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=1e-4, foreach=True
)
x = torch.rand(args.batch, sizes[0]) * 2 - 1
y = torch.randint(sizes[-1], (args.batch,))
loss_of = torch.nn.CrossEntropyLoss()


def forward(x, y):
    return loss_of(model(x), y)


if args.compile:
    forward = torch.compile(forward)


def step():
    optimizer.zero_grad(set_to_none=True)
    forward(x, y).backward()
    optimizer.step()


def measure(seconds, least):
    times = []
    start = time.perf_counter()
    while len(times) < least or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return times


measure(args.seconds / 5, 3)
times = measure(args.seconds, 5)
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "layers": args.layers,
            "batch": args.batch,
            "threads": args.threads,
            "median_s": statistics.median(times),
            "min_s": min(times),
            "max_s": max(times),
            "runs": len(times),
        }
    )
)
