"""Golden files of the engine: masked networks trained, and their topology updated, in plain PyTorch.

Everything is computed in float64 on dense tensors multiplied by masks. Random numbers come from Python's own
generator, whose sequence is fixed for a seed. See README.md for what the files hold.
"""

import json
import math
import platform
import random
from itertools import count
from pathlib import Path

import torch
from torch import nn

import bounds

VERSION = 1
FOLDER = Path(__file__).parent / "golden"
SHAPE, CLASSES = [2, 2, 5], 5  # an image of two channels
SIZES = [20, 33, 17, CLASSES]
MEAN, STD = [0.45, 0.6], [0.25, 0.3]  # per channel
DENSITY = 0.2  # of the first two weights; the third is dense
BATCHES, STEPS = [37, 65, 1], 10  # in turn: part of a group of 64 samples, more than one, a single sample


class Network:
    """A masked multilayer perceptron. Parameters are float32 numbers to begin with, so that nobody rounds them."""

    def __init__(self, rng, smoothing):
        self.smoothing = smoothing
        per_channel = torch.tensor([MEAN, STD], dtype=torch.float64)
        self.mean, self.std = per_channel.repeat_interleave(SIZES[0] // SHAPE[0], dim=1)
        self.model = nn.Sequential()
        self.masks = {}
        for i, (n, m) in enumerate(zip(SIZES, SIZES[1:]), 1):
            layer = nn.Linear(n, m, dtype=torch.float64)
            limit = math.sqrt(6 / (n + m) / (DENSITY if i < 3 else 1))
            layer.weight.data = uniform(rng, [m, n], limit)
            layer.bias.data = uniform(rng, [m], 0.3)  # not 0: a neuron without inputs is not on its ReLU's kink
            if i < 3:
                mask = torch.zeros(m * n, dtype=torch.bool)
                mask[rng.sample(range(m * n), int(m * n * DENSITY))] = True
                self.masks[f"fc{i}.weight"] = mask.reshape(m, n)
            self.model.add_module(f"fc{i}", layer)
            if i < 3:
                self.model.add_module(f"relu{i}", nn.ReLU())
        self.named = dict(self.model.named_parameters())
        for name, mask in self.masks.items():
            self.named[name].data *= mask

    def accumulate(self, batch):
        """Mean loss, hits and, in the parameters, the dense gradients of a batch."""
        self.model.zero_grad()
        images, labels = tensors(batch)
        logits = self.model((images / 255 - self.mean) / self.std)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        loss.backward()
        return loss.item(), int((logits.argmax(1) == labels).sum())

    def errors(self, batch, moved):
        """Bounds on the errors of float32 in `accumulate`, if those of the parameters are bounded by `moved`."""
        return bounds.of_pass(self, *tensors(batch), moved)

    def state(self, tensors):
        """Named tensors as the files hold them: active numbers alone where there is a mask."""
        state = {}
        for name, tensor in tensors.items():
            mask = self.masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
            state[name] = {"shape": list(tensor.shape), "values": numbers(tensor[mask])}
            if name in self.masks:
                state[name]["indices"] = mask.flatten().nonzero().flatten().tolist()
        return state


def training(smoothing, momentum, nesterov):
    """Ten steps of gradient descent whose gradients are masked, from the first gradients to the last parameters."""

    def build(rng):
        network = Network(rng, smoothing)
        named = network.named
        batches = [random_batch(rng, samples) for samples in BATCHES]
        constants = {"learning_rate": 0.1, "momentum": momentum, "nesterov": nesterov, "l2": 1e-3}
        optimizer = torch.optim.SGD(
            [
                {"params": [p for name, p in named.items() if "weight" in name], "weight_decay": constants["l2"]},
                {"params": [p for name, p in named.items() if "bias" in name], "weight_decay": 0},
            ],
            lr=constants["learning_rate"],
            momentum=momentum,
            nesterov=nesterov,
        )
        golden = {"constants": constants, "batches": batches, "before": network.state(named), "steps": []}
        descent = bounds.Descent(named, constants["learning_rate"], momentum, nesterov)
        for step in range(STEPS):
            batch = batches[step % len(batches)]
            loss, correct = network.accumulate(batch)
            errors, loss_error, clear = network.errors(batch, descent.moved)
            if not clear:
                return None
            if step == 0:
                golden["gradients"] = {
                    name: {"values": numbers(p.grad.flatten()), "tolerance": largest(errors[name])}
                    for name, p in named.items()
                }
            golden["steps"].append({"loss": rounded(loss), "tolerance": rounded(loss_error), "correct": correct})
            for name, mask in network.masks.items():
                named[name].grad *= mask
                errors[name] *= mask
            for name, p in named.items():
                decay = constants["l2"] if "weight" in name else 0
                descent.step(name, p.data, p.grad, errors[name], decay)
            optimizer.step()
        golden["after"] = network.state(named)
        for name in named:
            golden["after"][name]["tolerance"] = largest(descent.moved[name])
        return golden | {"smoothing": smoothing}

    return build


def drop(weight, mask, k):
    """What remains of the active weights without the k of smallest |w|; of equals the lower index remains."""
    active = mask.flatten().nonzero().flatten()
    order = weight.flatten()[active].abs().sort(descending=True, stable=True).indices
    remain = torch.zeros(mask.numel(), dtype=torch.bool)
    remain[active[order[: len(active) - k]]] = True
    return remain.reshape(mask.shape)


def grow(remain, gradient, k):
    """The new mask: what remains, and the k positions of largest |gradient| among all others, those just dropped
    included; of equals the lower index is grown."""
    eligible = (~remain).flatten().nonzero().flatten()
    order = gradient.flatten()[eligible].abs().sort(descending=True, stable=True).indices
    new = remain.flatten().clone()
    new[eligible[order[:k]]] = True
    return new.reshape(remain.shape)


def update(ties):
    """One RigL update at a step of a cosine schedule, or, with ties, at the borders of both selections."""

    def build(rng):
        network = Network(rng, 0.1)
        named = network.named
        slots = {name: uniform(rng, p.shape, 0.1) for name, p in named.items()}
        batch = random_batch(rng, BATCHES[0])
        if ties:
            # Weights on a coarse grid; pixels in pairs, whose gradients are then equal in any arithmetic.
            for name in network.masks:
                named[name].data = (named[name].data * 8).round() / 8
            for image in batch["images"]:
                image[1:10:2], image[11:20:2] = image[0:10:2], image[10:20:2]
        for name, mask in network.masks.items():
            slots[name] *= mask
        golden = {"batch": batch, "before": network.state(named), "momentum_before": network.state(slots)}
        network.accumulate(batch)
        exact = {name: torch.zeros_like(p.data) for name, p in named.items()}
        errors, _, clear = network.errors(batch, exact)
        if not clear:
            return None
        schedule = {"interval": 100, "begin": 0, "end": 1000, "drop_fraction": 0.5 if ties else 0.3}
        step = 300
        golden["schedule"] = schedule | {"step": step}
        golden["layers"] = {}
        new = {}
        fraction = schedule["drop_fraction"] / 2 * (1 + math.cos(math.pi * step / schedule["end"]))
        for name, mask in network.masks.items():
            weight, gradient = named[name].data, named[name].grad
            k = int(int(mask.sum()) * fraction)  # no product here is within rounding of a whole number
            remain = drop(weight, mask, k)
            new[name] = grow(remain, gradient, k)
            regrown = int((new[name] & mask & ~remain).sum())
            # The case must be able to tell wrong rules from the right one, and float32 must not decide it.
            tied_drop, tied_grow = bounds.borders(weight, mask, remain, gradient, k, errors[name])
            by_active_gradient = grow(remain, gradient * mask, k)
            if tied_drop != ties or tied_grow != (ties and name == "fc1.weight"):
                return None
            if regrown == 0 or by_active_gradient.equal(new[name]):
                return None
            golden["layers"][name] = {"k": k, "regrown": regrown}
        for name, mask in new.items():
            both = network.masks[name] & mask  # the regrown included: they keep value and slot
            network.masks[name], named[name].data, slots[name] = mask, named[name].data * both, slots[name] * both
        golden |= {"after": network.state(named), "momentum_after": network.state(slots)}
        return golden | {"smoothing": network.smoothing}

    return build


def random_batch(rng, samples):
    images = [[rng.randrange(256) for _ in range(SIZES[0])] for _ in range(samples)]
    return {"images": images, "labels": [rng.randrange(CLASSES) for _ in range(samples)]}


def tensors(batch):
    return torch.tensor(batch["images"], dtype=torch.float64), torch.tensor(batch["labels"])


def uniform(rng, shape, limit):
    """Uniform in ±limit, float32 numbers held as float64."""
    values = [rng.uniform(-limit, limit) for _ in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float32).to(torch.float64).reshape(tuple(shape))


def rounded(x):
    """Twelve digits: below what processors agree on in float64, far above float32, which they give back exactly."""
    return float(f"{x:.12g}")


def largest(tensor):
    return rounded(tensor.max().item())


def numbers(tensor):
    return [rounded(x) for x in tensor.tolist()]


def write(name, build):
    """Writes the case of the first seed whose numbers are clear of every place where rounding decides."""
    seed, golden = next((seed, golden) for seed in count() if (golden := build(random.Random(seed))) is not None)
    head = {
        "script": f"engine.py {VERSION}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "shape": SHAPE,
        "sizes": SIZES,
        "mean": MEAN,
        "std": STD,
    }
    path = FOLDER / f"{name}.json"
    path.write_text(layout(head | golden) + "\n")
    print(f"{path.name}: seed {seed}, {path.stat().st_size} bytes")


def layout(value, depth=0):
    """JSON with one entry of the outer two levels a line."""
    if isinstance(value, dict) and depth < 2:
        indent = "  " * (depth + 1)
        entries = [f"{indent}{json.dumps(k)}: {layout(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(entries) + "\n" + "  " * depth + "}"
    return json.dumps(value, allow_nan=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    write("train-nesterov-smoothing", training(smoothing=0.1, momentum=0.9, nesterov=True))
    write("train-plain", training(smoothing=0.0, momentum=0.0, nesterov=False))
    write("train-momentum", training(smoothing=0.0, momentum=0.9, nesterov=False))
    write("update-cosine", update(ties=False))
    write("update-ties", update(ties=True))
