"""Networks that rigl exported, in PyTorch: builds the module, loads the file with `load_state_dict(strict=True)`, and
compares its logits with those that rigl computed on the same inputs.

    rigl export RUN net.safetensors
    rigl eval RUN --samples 1000 --logits logits.safetensors
    python -m pip install torch==2.15.0 safetensors==0.8.0
    python reference/load_exported.py net.safetensors logits.safetensors

The error is max |a − b| / max |a| over all logits of all samples, a rigl's and b PyTorch's. Exits with 1 if it is above
1e-5. As a module: `load(path)` gives the network, ready to evaluate, and the file's metadata.
"""

import argparse
import re
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from wide_resnet import WideResNet

TOLERANCE = 1e-5


class Perceptron(nn.Module):
    """`lenet-300-100` and `mlp`: linear layers fc1, fc2, … with ReLU between them, on flattened samples."""

    def __init__(self, sizes):
        super().__init__()
        self.layers = [f"fc{i}" for i in range(1, len(sizes))]
        for name, inputs, outputs in zip(self.layers, sizes, sizes[1:]):
            self.add_module(name, nn.Linear(inputs, outputs))

    def forward(self, x):
        h = x.flatten(1)
        for name in self.layers[:-1]:
            h = torch.relu(getattr(self, name)(h))
        return getattr(self, self.layers[-1])(h)


def perceptron(state):
    weights = [state[f"fc{i}.weight"] for i in range(1, len(state) // 2 + 1)]
    return Perceptron([weights[0].shape[1]] + [weight.shape[0] for weight in weights])


def wide_resnet(state):
    blocks = {int(name.split(".")[2]) for name in state if re.match(r"block1\.layer\.\d+\.", name)}
    width, rest = divmod(state["bn1.weight"].shape[0], 64)
    assert rest == 0, "only widths that are whole numbers are built here"
    return WideResNet(6 * len(blocks) + 4, width, state["fc.weight"].shape[0])


NETWORKS = {
    "lenet-300-100": perceptron,
    "mlp": perceptron,
    "wide-resnet": wide_resnet,
    "wrn-22-2": wide_resnet,
}


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def load(path):
    """The network in an exported file, in evaluation, and what the file says of it."""
    metadata, state = metadata_of(path), load_file(path)
    build = NETWORKS.get(metadata["network"])
    if build is None:
        sys.exit(f"no module for `{metadata['network']}` here, there are {', '.join(NETWORKS)}")
    network = build(state)
    network.load_state_dict(state, strict=True)
    return network.eval(), metadata


@torch.no_grad()
def logits_of(network, inputs):
    return torch.cat([network(part) for part in inputs.split(250)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="file of `rigl export`")
    parser.add_argument("logits", help="file of `rigl eval --logits`")
    arguments = parser.parse_args()
    network, metadata = load(arguments.network)
    of_logits = metadata_of(arguments.logits)
    for key in ["graph", "configuration", "step"]:
        if metadata[key] != of_logits[key]:
            sys.exit(f"the files are of different networks: their `{key}` differs")
    tensors = load_file(arguments.logits)
    inputs, labels, expected = tensors["input"], tensors["label"], tensors["logits"]
    print(f"{metadata['network']}, step {metadata['step']}, {float(metadata['sparsity']):.2%} sparse", end=": ")
    print(f"{len(labels)} samples of the {of_logits['split']} split, logits up to {expected.abs().max():.4g}")
    worst = 0.0
    for name, kind in [("float32", torch.float32), ("float64", torch.float64)]:
        found = logits_of(network.to(kind), inputs.to(kind)).double()
        error = ((found - expected.double()).abs().max() / expected.double().abs().max()).item()
        hits = [(z.argmax(1) == labels).sum().item() for z in (expected, found)]
        print(f"PyTorch in {name}: largest relative error {error:.2e}; right are {hits[1]}, in rigl {hits[0]}")
        # Also where it is no number.
        worst = error if not error <= worst else worst
    if not worst <= TOLERANCE:
        sys.exit(f"above {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
