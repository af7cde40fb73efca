"""What the golden files of layers and of whole networks have in common."""

import platform

import torch


def head(script, version):
    return {"script": f"{script} {version}", "torch": torch.__version__, "python": platform.python_version()}


def samples(found, most):
    """Of each tensor every k-th number, `most` at most, and, if that is not all, its sum and its sum of squares: as
    flat tensors by (name, part)."""
    parts = {}
    for name, tensor in found.items():
        flat = tensor.detach().double().flatten()
        every = -(-len(flat) // most)
        parts[name, "values"] = flat[::every].clone()
        if every > 1:
            parts[name, "sum"], parts[name, "squares"] = flat.sum()[None], (flat * flat).sum()[None]
    return parts


def entries(found, parts, tolerances):
    """What the files hold of `found`, whose samples and their tolerances these are."""
    result = {name: {} for name in found}
    for (name, part), numbers in parts.items():
        entry, tolerance = result[name], significant(tolerances[name, part], 3)
        if part == "values":
            count = found[name].numel()
            entry["every"] = -(-count // max(len(numbers), 1))
            entry["count"] = count
            entry |= {"values": [significant(v, 9) for v in numbers.tolist()], "tolerance": tolerance}
        else:
            entry[part] = [significant(numbers.item(), 12), tolerance]
    return result


def significant(x, digits):
    """Nine digits give back every float32; tolerances need few."""
    return float(f"{x:.{digits}g}")


def worst(parts, exact, tolerances):
    """The largest error of `parts`, in tolerances, and its name."""
    return max(((parts[key] - exact[key]).abs().max().item() / tolerances[key], key) for key in exact)
