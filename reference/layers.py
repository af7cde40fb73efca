"""Golden files of every layer of convolutional networks: small networks computed by PyTorch, described by the text form
of `crates/graph/src/text.rs`. See README.md for what the files hold."""

import math

import numpy as np
import torch
from torch import nn

import files
import philox
import rounding
from engine import FOLDER, layout

VERSION = 1
SHAPE, CLASSES = [2, 7, 9], 3
MEAN, STD = [0.45, 0.6], [0.25, 0.3]  # per channel
MOST = 160  # numbers of one tensor in a file


class Network(nn.Module):
    """The network of a text, whose parameters, masks and buffers are drawn by their names."""

    def __init__(self, text, seed, masks, dtype):
        super().__init__()
        self.lines = [Line(line) for line in text.splitlines()[1:]]
        shapes = {line.name: line.shape for line in self.lines}
        for line in self.lines:
            layer = line.layer([shapes[name] for name in line.inputs])
            if layer is not None:
                self.add_module(line.name, layer)
        self.masks = {}
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            if "num_batches" not in name:
                tensor.data = drawn(seed, name, tensor.shape)
        for name, density in masks.items():
            weight = self.get_parameter(name)
            units = philox.units(seed, philox.TEST, f"{name}.mask", weight.numel())
            self.masks[name] = torch.tensor(units < density).reshape(weight.shape)
            weight.data *= self.masks[name]
        self.to(dtype)

    def forward(self, x, labels):
        results = {}
        for line in self.lines:
            inputs = [results[name] for name in line.inputs]
            if line.word == "input":
                y = x
            elif line.word == "cross-entropy":
                smoothing = float(line.attributes["label-smoothing"])
                return nn.functional.cross_entropy(*inputs, labels, label_smoothing=smoothing)
            elif line.word == "add":
                y = torch.add(*inputs)
            elif line.word == "multiply":
                y = torch.mul(*inputs)
            else:
                y = self.get_submodule(line.name)(*inputs)
            assert list(y.shape[1:]) == line.shape, (line.name, y.shape, line.shape)
            results[line.name] = y


class Line:
    """`NAME = WORD(INPUTS) KEY=VALUE … -> [SHAPE]`"""

    def __init__(self, text):
        text, shape = text.rsplit(" -> ", 1)
        self.name, text = text.split(" = ", 1)
        self.word, text = text.split("(", 1)
        inputs, attributes = text.split(")", 1)
        self.shape = [int(n) for n in shape.strip("[]").split(", ") if n]
        self.inputs = [name for name in inputs.split(", ") if name]
        self.attributes = dict(item.split("=", 1) for item in attributes.split())

    def layer(self, inputs):
        number = lambda key: int(self.attributes[key])
        flag = lambda key: self.attributes[key] == "true"
        real = lambda key: float(np.float32(self.attributes[key]))
        window = lambda: dict(kernel_size=number("kernel"), stride=number("stride"), padding=number("padding"))
        match self.word:
            case "flatten":
                return nn.Flatten()
            case "linear":
                return nn.Linear(inputs[0][0], number("features"), flag("bias"))
            case "conv2d":
                return nn.Conv2d(
                    inputs[0][0], number("channels"), **window(), groups=number("groups"), bias=flag("bias")
                )
            case "batch-norm":
                layer = nn.BatchNorm2d if len(self.shape) == 3 else nn.BatchNorm1d
                return layer(self.shape[0], real("epsilon"), real("momentum"))
            case "relu":
                return nn.ReLU()
            case "leaky-relu":
                return nn.LeakyReLU(real("slope"))
            case "sigmoid":
                return nn.Sigmoid()
            case "max-pool":
                return nn.MaxPool2d(**window())
            case "avg-pool":
                return nn.AvgPool2d(**window())
            case "global-avg-pool":
                return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            case "input" | "add" | "multiply" | "cross-entropy":
                return None
        raise ValueError(self.word)


def drawn(seed, name, shape):
    """The numbers of a parameter or buffer, rounded to float32."""
    if name.endswith(".weight") and len(shape) > 1:
        limit, middle = math.sqrt(6 / math.prod(shape[1:])), 0
    elif name.endswith(".weight") or name.endswith(".running_var"):
        limit, middle = 0.5, 1
    else:
        limit, middle = 0.3, 0
    units = philox.units(seed, philox.TEST, name, math.prod(shape))
    return torch.tensor(((2 * units - 1) * limit + middle).astype(np.float32)).reshape(tuple(shape))


def batch(seed, samples):
    """Bytes and labels, which are the low ends of words."""
    size = math.prod(SHAPE)
    images = philox.draws(seed, philox.TEST, "images", samples * size) % 256
    labels = philox.draws(seed, philox.TEST, "labels", samples) % CLASSES
    return torch.tensor(images.astype(np.float64)).reshape(samples, *SHAPE), torch.tensor(labels.astype(np.int64))


class Text:
    """Writes the text form, node by node; `x` is the node written last."""

    def __init__(self, name):
        self.lines, self.shapes, self.x = [f"network {name}"], {}, None
        self.node("image", "input", [], SHAPE)

    def node(self, name, word, inputs, shape, **attributes):
        pairs = "".join(f" {key.replace('_', '-')}={value}" for key, value in attributes.items())
        self.lines.append(f"{name} = {word}({', '.join(inputs)}){pairs} -> {shape}")
        self.shapes[name], self.x = shape, name
        return self

    def at(self, name):
        self.x = name
        return self

    def conv(self, name, channels, k, s=1, p=0, groups=1, bias="false"):
        shape = self.windows(channels, k, s, p)
        how = dict(channels=channels, kernel=k, stride=s, padding=p, groups=groups, bias=bias, init="glorot-uniform")
        return self.node(name, "conv2d", [self.x], shape, **how)

    def pool(self, word, k, s, p=0):
        shape = self.windows(self.shapes[self.x][0], k, s, p)
        return self.node(word, word, [self.x], shape, kernel=k, stride=s, padding=p)

    def windows(self, channels, k, s, p):
        return [channels, *((n + 2 * p - k) // s + 1 for n in self.shapes[self.x][1:])]

    def bn(self, name, epsilon="1e-5", momentum="0.1"):
        return self.node(name, "batch-norm", [self.x], self.shapes[self.x], epsilon=epsilon, momentum=momentum, scale="1.0")

    def relu(self, name):
        return self.node(name, "relu", [self.x], self.shapes[self.x])

    def leaky_relu(self, name, slope):
        return self.node(name, "leaky-relu", [self.x], self.shapes[self.x], slope=slope)

    def sigmoid(self, name):
        return self.node(name, "sigmoid", [self.x], self.shapes[self.x])

    def add(self, name, other):
        return self.node(name, "add", [self.x, other], self.shapes[self.x])

    def multiply(self, name, other):
        return self.node(name, "multiply", [self.x, other], self.shapes[self.x])

    def mean(self):
        return self.node("mean", "global-avg-pool", [self.x], self.shapes[self.x][:1])

    def linear(self, name, features, bias="true"):
        if len(self.shapes[self.x]) > 1:
            self.node("flatten", "flatten", [self.x], [math.prod(self.shapes[self.x])])
        return self.node(name, "linear", [self.x], [features], features=features, bias=bias, init="glorot-uniform")

    def end(self, smoothing="0.0"):
        self.linear("fc", CLASSES).node("loss", "cross-entropy", ["fc"], [], classes=CLASSES, label_smoothing=smoothing)
        return "\n".join(self.lines) + "\n"


def stem(name, channels=4):
    """The first layer of most cases: its gradients show the gradient of what follows it."""
    return Text(name).conv("stem", channels, 3, p=1, bias="true")


def convolutions():
    """(text, samples, masks) of convolutions by kernel, stride, padding and groups."""
    for k, s, p, groups, channels, bias, samples in [
        (1, 1, 0, 1, 6, "false", 5),
        (1, 2, 0, 1, 6, "true", 5),
        (3, 1, 1, 1, 6, "false", 5),
        (3, 1, 0, 1, 5, "true", 5),
        (3, 1, 2, 1, 3, "false", 5),
        (3, 2, 1, 1, 6, "true", 17),
        (3, 2, 0, 1, 6, "false", 5),
        (3, 2, 2, 1, 5, "true", 5),
        (5, 1, 2, 1, 4, "true", 5),
        (5, 1, 0, 1, 6, "false", 16),
        (5, 1, 1, 1, 4, "false", 5),
        (5, 2, 2, 1, 6, "false", 5),
        (5, 2, 1, 1, 6, "true", 1),
        (5, 2, 0, 1, 6, "true", 5),
        (1, 1, 0, 2, 6, "true", 5),
        (3, 1, 1, 2, 6, "false", 5),
        (3, 2, 1, 2, 6, "true", 5),
        (5, 2, 2, 2, 4, "false", 5),
        (1, 1, 0, 4, 4, "true", 5),
        (3, 1, 1, 4, 4, "true", 5),
        (3, 2, 1, 4, 4, "false", 17),
        (5, 1, 2, 4, 4, "false", 5),
        (5, 2, 1, 4, 8, "true", 5),
    ]:
        name = f"conv-k{k}-s{s}-p{p}-g{groups}-n{samples}"
        yield stem(name).conv("conv", channels, k, s, p, groups, bias).end(), samples, {}


def sparse():
    """Convolutions with masks, wider than the vectors of a processor, and a row without weights."""
    for k, s, p, inputs, channels, density, samples in [
        (3, 1, 1, 19, 21, 0.1, 5),
        (3, 2, 1, 18, 20, 0.1, 17),
        (1, 1, 0, 33, 35, 0.1, 5),
        (1, 2, 0, 20, 24, 0.2, 5),
        (5, 1, 2, 8, 10, 0.1, 3),
        (5, 2, 2, 6, 9, 0.02, 5),
    ]:
        text = stem(f"sparse-k{k}-s{s}-p{p}-n{samples}", inputs).relu("relu").conv("conv", channels, k, s, p)
        text = text.relu("relu2").pool("avg-pool", 3, 2)
        yield text.end(), samples, {"conv.weight": density}
    text = stem("sparse-first-and-last").relu("relu").conv("conv", 6, 3, p=1, bias="true").relu("relu2").mean()
    yield text.end(), 5, {"stem.weight": 0.4, "conv.weight": 0.3, "fc.weight": 0.6}


def norms():
    yield stem("norm").bn("bn").end(), 5, {}
    yield stem("norm-n17").bn("bn", "0.1", "0.25").end(), 17, {}
    yield stem("norm-n1", 3).bn("bn", momentum="1.0").end(), 1, {}
    yield stem("norm-relu").bn("bn").relu("relu").conv("conv", 5, 3, 2, 1).bn("bn2").relu("relu2").end("0.1"), 5, {}
    text = stem("norm-residual").relu("relu").conv("conv", 4, 3, p=1).bn("bn").add("add", "relu").relu("relu2")
    yield text.end(), 5, {}
    yield Text("norm-of-the-image").bn("bn").conv("conv", 4, 3, p=1).end(), 5, {}


def vector_norms():
    yield Text("norm-vector").linear("fc1", 9, "false").bn("bn").end(), 5, {}
    yield Text("norm-vector-relu").linear("fc1", 7).bn("bn", "0.01", "0.3").relu("relu").end(), 70, {}
    yield stem("norm-of-means", 8).relu("relu").mean().bn("bn").relu("relu2").end(), 17, {}


def joins():
    """Activations, sums and pools."""
    yield stem("relu").relu("relu").end(), 5, {}
    yield stem("add-identity").relu("relu").conv("conv", 4, 3, p=1).add("add", "relu").end(), 5, {}
    text = stem("add-three").relu("relu").conv("conv", 4, 3, p=1).add("add", "relu").conv("conv2", 4, 1).add("add2", "add")
    yield text.add("add3", "relu").relu("relu2").end(), 5, {}
    text = stem("add-projection").relu("relu").conv("conv", 6, 3, 2, 1).at("relu").conv("skip", 6, 1, 2)
    yield text.add("add", "conv").end(), 5, {}
    text = Text("residual-blocks").conv("stem", 4, 3, p=1)
    text.bn("bn1").relu("relu1").conv("conv1", 6, 3, 2, 1).bn("bn2").relu("relu2").conv("conv2", 6, 3, p=1)
    text.at("relu1").conv("skip", 6, 1, 2).add("add1", "conv2")
    text.bn("bn3").relu("relu3").conv("conv3", 6, 3, p=1).bn("bn4").relu("relu4").conv("conv4", 6, 3, p=1)
    text.add("add2", "add1").bn("bn5").relu("relu5").mean()
    yield text.end(), 5, {}
    for word in ["max-pool", "avg-pool"]:
        for k, s, p, samples in [(2, 2, 0, 5), (3, 2, 1, 17), (3, 1, 1, 5)]:
            yield stem(f"{word}-k{k}-s{s}-p{p}").pool(word, k, s, p).end(), samples, {}
    # Equal zeros share a window: none of them passes a gradient on.
    yield stem("max-pool-of-relu").relu("relu").pool("max-pool", 3, 2, 1).end(), 5, {}
    yield stem("global-avg-pool").relu("relu").mean().end(), 5, {}
    text = stem("vgg").bn("bn").relu("relu").pool("max-pool", 2, 2).conv("conv", 6, 3, p=1).relu("relu2")
    yield text.end(), 5, {}


def gates():
    """Sigmoids, leaky ReLUs and products, of maps and of vectors; what several layers read."""
    yield stem("sigmoid").sigmoid("sigmoid").end(), 5, {}
    yield stem("leaky-relu").leaky_relu("leaky", "0.1").end(), 17, {}
    yield stem("leaky-relu-of-norm").bn("bn").leaky_relu("leaky", "0.01").conv("conv", 5, 3, p=1).end(), 5, {}
    text = stem("gated-map").conv("conv", 4, 3, p=1).sigmoid("sigmoid").multiply("gated", "stem").bn("bn")
    yield text.relu("relu").end(), 5, {}
    yield stem("square").multiply("square", "stem").sigmoid("sigmoid").bn("bn").end(), 5, {}
    text = stem("gated-means", 6).relu("relu").mean().linear("squeeze", 3).leaky_relu("leaky", "0.2")
    text.linear("excite", 6).sigmoid("gate").multiply("gated", "mean")
    yield text.end(), 17, {"squeeze.weight": 0.5, "excite.weight": 0.4}
    text = Text("residual-vectors").linear("fc1", 9).relu("relu").linear("fc2", 9).add("add", "fc1").bn("bn")
    yield text.sigmoid("sigmoid").multiply("gated", "fc1").add("add2", "add").end(), 17, {}


def run(text, seed, samples, masks, errors=None, dtype=torch.float64, memory_format=torch.contiguous_format):
    """Everything a step shows: evaluation with the buffers as drawn, then loss, gradients and buffers of a step."""
    network = Network(text, seed, masks, dtype).to(memory_format=memory_format)
    images, labels = batch(seed, samples)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (MEAN, STD))
    x = (images / 255 - mean) / std
    if errors:
        x = errors.off(x, 4, (images / 255 + mean) / std)
    x = x.to(dtype).contiguous(memory_format=memory_format)
    network.eval()
    with torch.no_grad():
        each = torch.stack([network(x[i : i + 1], labels[i : i + 1]) for i in range(samples)])
    network.train()
    loss = network(x, labels)
    loss.backward()
    found = {"evaluated": each, "loss": loss.detach()}
    found |= {f"gradient {name}": p.grad for name, p in network.named_parameters()}
    for name, mask in network.masks.items():
        found[f"gradient {name}"] = found[f"gradient {name}"][mask]
    return found | {f"buffer {name}": b for name, b in network.named_buffers() if "num_batches" not in name}


def golden(text, samples, masks):
    """The case of the first seed that float32 cannot upset: no kink is crossed that would hide an error."""
    for seed in range(100):
        compute = lambda *errors: files.samples(run(text, seed, samples, masks, *errors), MOST)
        exact, tolerances = rounding.tolerances(compute, seed)
        sizes = {name: value.abs().max().item() for (name, part), value in exact.items() if part == "values"}
        largest = max(sizes[name] for name in sizes if name.startswith("gradient"))
        # Gradients that cancel (of a bias before a norm, say) are measured by the others.
        sizes |= {name: largest for name in sizes if name.startswith("gradient")}
        relative = max(tolerances[name, "values"] / size for name, size in sizes.items())
        if relative <= 2e-4:
            break
    else:
        raise AssertionError(f"float32 cannot compute this: {text}")
    off = 0
    for memory_format in torch.contiguous_format, torch.channels_last:
        single = compute(None, torch.float32, memory_format)
        off = max(off, files.worst(single, exact, tolerances)[0])
    found = run(text, seed, samples, masks)
    case = {"seed": seed, "samples": samples, "masks": masks, "text": text, "gradients": {}, "buffers": {}}
    for name, entry in files.entries(found, exact, tolerances).items():
        match name.split(" "):
            case ["gradient", name]:
                case["gradients"][name] = entry
            case ["buffer", name]:
                case["buffers"][name] = entry
            case [name]:
                case[name] = entry
    return case, off, relative


def write(name, cases):
    written, worst, scale = {}, 0, 0
    for text, samples, masks in cases:
        title = text.split("\n")[0].removeprefix("network ")
        assert title not in written, title
        written[title], off, relative = golden(text, samples, masks)
        worst, scale = max(worst, off), max(scale, relative)
    path = FOLDER / f"{name}.json"
    path.write_text(layout(files.head("layers.py", VERSION) | {"mean": MEAN, "std": STD, "cases": written}) + "\n")
    assert worst < 1, "PyTorch itself is outside of the tolerances"
    size = path.stat().st_size
    print(
        f"{path.name}: {len(written)} cases, {size} bytes, tolerances up to {scale:.1e} of the largest number, "
        f"PyTorch's float32 at {worst:.2f} of them"
    )
    assert size <= 100_000, "a golden file is at most 100 kB"


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    write("layers-convolution", (c for c in convolutions() if "-g1-" in c[0]))
    write("layers-groups", (c for c in convolutions() if "-g1-" not in c[0]))
    write("layers-sparse", sparse())
    write("layers-norm", norms())
    write("layers-norm-vector", vector_norms())
    write("layers-join", joins())
    write("layers-gate", gates())
