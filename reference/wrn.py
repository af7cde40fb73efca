"""Golden files of three whole training steps of WRN-22-2 with a fixed mask at 90 %. See README.md for what they hold.

Of the three million numbers that meet a ReLU in a step, float32 moves a few over its kink, and each of those changes
gradients by up to a percent. So there are two files: one of a network that starts as networks do, whose tolerances
are wide after the first loss, and one whose norms start such that few numbers come near a kink: there all three steps
are fixed tightly."""

import math

import numpy as np
import torch
from torch import nn

import files
import philox
import rounding
from engine import FOLDER, layout
from wide_resnet import WideResNet

VERSION = 1
SAMPLES, STEPS = 8, 3
DENSITY = 0.1  # of all weights but the first convolution's
CONSTANTS = {"momentum": 0.9, "nesterov": True, "l2": 5e-4}
LEARNING_RATE = {False: 0.01, True: 0.1}  # by whether the norms are clear of kinks
MOST = 8  # numbers of one tensor in the file


def initial(seed, name, tensor):
    """Glorot uniform by position, as `crates/graph/src/initial.rs` computes it; fans are counted dense."""
    area = math.prod(tensor.shape[2:])
    scale = math.sqrt(6.0 / (tensor.shape[1] * area + tensor.shape[0] * area))
    units = philox.units(seed, philox.INIT, name, tensor.numel())
    return torch.tensor(((2.0 * units - 1.0) * scale).astype(np.float32)).reshape(tensor.shape)


def mask(seed, name, tensor):
    units = philox.units(seed, philox.TEST, f"{name}.mask", tensor.numel())
    return torch.tensor(units < DENSITY).reshape(tensor.shape)


def clear_norm(seed, name, tensor):
    """Scales around .5 and shifts around ±1.5: three deviations from the kink."""
    u = philox.units(seed, philox.TEST, name, tensor.numel())
    values = 0.4 + 0.2 * u if name.endswith("weight") else np.where(u < 0.5, -1.8 + 1.2 * u, 0.6 + 1.2 * u)
    return torch.tensor(values.astype(np.float32))


def batches(seed):
    """Bytes and labels of all steps, one draw after another."""
    size = SAMPLES * 3 * 32 * 32
    images = philox.draws(seed, philox.TEST, "images", STEPS * size) % 256
    labels = philox.draws(seed, philox.TEST, "labels", STEPS * SAMPLES) % 10
    images = torch.tensor(images.astype(np.float64)).reshape(STEPS, SAMPLES, 3, 32, 32)
    return list(zip(images, torch.tensor(labels.astype(np.int64)).reshape(STEPS, SAMPLES)))


def standardised(images, errors):
    """Each image by its own mean and deviation."""
    images = images / 255
    mean = images.mean((1, 2, 3), keepdim=True)
    deviation = images.std((1, 2, 3), correction=0, keepdim=True).clamp(min=1 / math.sqrt(3 * 32 * 32))
    x = (images - mean) / deviation
    return errors.off(x, 9, (images + mean) / deviation) if errors else x


def run(seed, clear, errors=None, dtype=torch.float64, memory_format=torch.contiguous_format, wrong=""):
    """The losses of the steps, that of an evaluation after them, and all parameters and buffers then. `wrong` breaks one
    rule."""
    network = WideResNet()
    named = dict(network.named_parameters())
    masks = {}
    for name, p in named.items():
        if p.dim() > 1:
            p.data = initial(seed, name, p)
            if name != "conv1.weight":
                masks[name] = mask(seed, name, p)
                p.data *= masks[name]
        elif clear and name != "fc.bias":
            p.data = clear_norm(seed, name, p)
    nn.init.zeros_(network.fc.bias)
    network.to(dtype).to(memory_format=memory_format)
    for module in network.modules():
        if wrong == "epsilon" and isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    weights = [p for p in named.values() if p.dim() > 1]
    others = [p for p in named.values() if p.dim() == 1]
    l2 = CONSTANTS["l2"]
    optimizer = torch.optim.SGD(
        [
            {"params": weights, "weight_decay": 0 if wrong == "l2" else l2},
            {"params": others, "weight_decay": l2 if wrong == "l2 on norms" else 0},
        ],
        lr=LEARNING_RATE[clear],
        momentum=CONSTANTS["momentum"],
        nesterov=wrong != "nesterov",
    )
    losses = []
    for images, labels in batches(seed):
        x = standardised(images, errors).to(dtype).contiguous(memory_format=memory_format)
        network.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        losses.append(loss.detach())
        for name, p in named.items():
            if name in masks:
                p.grad *= masks[name]
            if errors:  # of what the optimiser makes of it
                p.grad = errors.rounded(p.grad, 6)
        optimizer.step()
        if errors:
            for p in named.values():
                p.data = errors.rounded(p.data, 1)
    found = {f"parameter {name}": p.data for name, p in named.items()}
    for name, active in masks.items():
        found[f"parameter {name}"] = found[f"parameter {name}"][active]
    found |= {f"buffer {name}": b.clone() for name, b in network.named_buffers() if "num_batches" not in name}
    found |= {f"loss {i}": loss for i, loss in enumerate(losses)}
    # A last look, with the running statistics.
    network.eval()
    with torch.no_grad():
        found["evaluated"] = nn.functional.cross_entropy(network(x), labels)
    return found


def steady(seed):
    """Whether no number comes so near to a kink that float32 could move it over."""
    exact, tolerances = rounding.tolerances(lambda *e: files.samples(run(seed, True, *e), MOST), seed, runs=4)
    return tolerances["loss 2", "values"] < 1e-5


def write(name, seed, clear):
    compute = lambda *how, **wrong: files.samples(run(seed, clear, *how, **wrong), MOST)
    exact, tolerances = rounding.tolerances(compute, seed)
    for memory_format in torch.contiguous_format, torch.channels_last:
        worst, key = files.worst(compute(None, torch.float32, memory_format), exact, tolerances)
        print(f"PyTorch's float32, {memory_format}: at {worst:.2f} of the tolerances ({' '.join(key)})")
        assert worst < 1, "PyTorch itself is outside of the tolerances"
    for wrong in ["l2", "l2 on norms", "nesterov", "epsilon"]:
        worst, key = files.worst(compute(wrong=wrong), exact, tolerances)
        print(f"wrong {wrong}: at {worst:.0f} of the tolerances ({' '.join(key)})")
        assert worst > 10, "the file must be able to tell wrong rules from the right one"
    golden = files.head("wrn.py", VERSION) | {"seed": seed, "samples": SAMPLES, "density": DENSITY, "clear": clear}
    golden |= {"constants": {"learning_rate": LEARNING_RATE[clear]} | CONSTANTS, "losses": [], "parameters": {}, "buffers": {}}
    for key, entry in files.entries(run(seed, clear), exact, tolerances).items():
        match key.split(" "):
            case ["loss", _]:
                golden["losses"].append(entry)
            case ["evaluated"]:
                golden["evaluated"] = entry
            case [kind, of]:
                golden[f"{kind}s"][of] = entry
    path = FOLDER / f"{name}.json"
    path.write_text(layout(golden) + "\n")
    print(f"{path.name}: seed {seed}, {path.stat().st_size} bytes")
    assert path.stat().st_size <= 100_000, "a golden file is at most 100 kB"
    relative = {k: tolerances[k] / v.abs().max().item() for k, v in exact.items() if k[1] == "values"}
    for kind in ["loss", "evaluated", "parameter", "buffer"]:
        each = sorted(r for (name, _), r in relative.items() if name.startswith(kind))
        print(f"{kind}: tolerances {each[0]:.1e} … {each[len(each) // 2]:.1e} … {each[-1]:.1e} of the largest number")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write("train-wrn-22-2", 0, clear=False)
    write("train-wrn-22-2-clear", next(seed for seed in range(20) if steady(seed)), clear=True)
