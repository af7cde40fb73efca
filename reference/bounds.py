"""How far float32 arithmetic may be from the golden numbers: the tolerances of the files.

Running error analysis (Higham, "Accuracy and Stability of Numerical Algorithms", §3.3), to first order in UNIT: a sum
of n fused products, in any order, adds an error of n · UNIT · Σ|aᵢbᵢ| to the Σ(error(aᵢ)·|bᵢ| + |aᵢ|·error(bᵢ))
that it inherits. An inactive weight is no term of a sum.
"""

import torch
from torch import nn

UNIT = 2.0**-24  # the relative error of one rounding to float32


def of_pass(network, images, labels, moved):
    """Bounds on the errors of every gradient and of the loss of a batch, and whether they are too small to matter
    where numbers decide (ReLU, largest logit). `moved` bounds the errors of the parameters."""
    layers = [m for m in network.model if isinstance(m, nn.Linear)]
    weights = [layer.weight.data for layer in layers]
    terms = [(w != 0).double() for w in weights]
    weight_errors = [moved[f"fc{i + 1}.weight"] for i in range(len(layers))]
    samples, clear = len(images), True

    # Bytes are scaled and shifted by constants that are rounded themselves.
    value = (images / 255 - network.mean) / network.std
    error = UNIT * ((images / 255 + network.mean) / network.std + value.abs())
    inputs = []
    for i, layer in enumerate(layers):
        inputs.append((value, error))
        size = value.abs() @ weights[i].abs().T + layer.bias.data.abs()
        error = error @ weights[i].abs().T + value.abs() @ weight_errors[i].T + moved[f"fc{i + 1}.bias"]
        error = error + UNIT * (terms[i].sum(1) + 1) * size
        value = layer(value).detach()
        if i + 1 < len(layers):
            clear &= bool((value.abs() > error).all())
            error = error * (value > 0)
            value = value.relu()
    best, second = value.topk(2).values.T
    clear &= bool((best - second > 2 * error.max(1).values).all())

    # Softmax: exp, a sum over the classes, a quotient, a few single operations.
    p, classes = value.softmax(1), value.shape[1]
    q = nn.functional.one_hot(labels, classes) * (1 - network.smoothing) + network.smoothing / classes
    below = value.amax(1, keepdim=True) - value
    loss = ((p + q) * error).sum(1) + UNIT * (classes + 8) * (1 + value.abs().amax(1))
    error = p * (error + (p * error).sum(1, keepdim=True)) + UNIT * ((classes + 8 + below) * p + 4 * q)
    value, error = (p - q) / samples, error / samples

    result = {}
    for i in reversed(range(len(layers))):
        x, x_error = inputs[i]
        size = value.abs().T @ x.abs()
        result[f"fc{i + 1}.weight"] = error.T @ x.abs() + value.abs().T @ x_error + UNIT * samples * size
        result[f"fc{i + 1}.bias"] = error.sum(0) + UNIT * samples * value.abs().sum(0)
        size = UNIT * terms[i].sum(0) * (value.abs() @ weights[i].abs())
        error = (error @ weights[i].abs() + value.abs() @ weight_errors[i] + size) * (x > 0)
        value = value @ weights[i] * (x > 0)
    return result, loss.mean().item(), clear


class Descent:
    """Bounds on the errors of parameters (`moved`) and slots over steps of stochastic gradient descent."""

    def __init__(self, named, learning_rate, momentum, nesterov):
        self.learning_rate, self.momentum, self.nesterov = learning_rate, momentum, nesterov
        self.moved = {name: torch.zeros_like(p.data) for name, p in named.items()}
        self.slot_errors = dict(self.moved)
        self.slots = dict(self.moved)  # what the slots are, added up over absolute values

    def step(self, name, weight, gradient, error, decay):
        """A step of a parameter whose gradient is off by `error`. Every operation rounds its result, and its
        constant was rounded before."""
        size = gradient.abs() + decay * weight.abs()
        error = error + decay * self.moved[name] + 2 * UNIT * size
        self.slots[name] = slot = self.momentum * self.slots[name] + size
        slot_error = self.momentum * self.slot_errors[name] + error + 2 * UNIT * slot
        self.slot_errors[name] = slot_error
        if self.nesterov:
            size = size + self.momentum * slot
            error = error + self.momentum * slot_error + 2 * UNIT * size
        else:
            size, error = slot, slot_error
        step = self.learning_rate * size
        self.moved[name] = self.moved[name] + self.learning_rate * error + UNIT * (2 * step + weight.abs())


def borders(weight, mask, remain, gradient, k, error):
    """Whether the last weight that is kept and the first that is dropped are equal, and the same of growth; `None`
    for growth if float32, whose gradients are off by `error` at most, could choose otherwise."""
    tied_drop = bool(weight[remain].abs().min() == weight[mask & ~remain].abs().max())
    scores, order = gradient[~remain].abs().sort(descending=True, stable=True)
    low, high = scores - error[~remain][order], scores + error[~remain][order]
    # The pair at the border may be equal in any arithmetic; then it must be clear of all others.
    tied_grow = bool(scores[k - 1] == scores[k])
    above, below = (k - 1, k + 1) if tied_grow else (k, k)
    clear = low[:above].min() > high[above:].max() and low[:below].min() > high[below:].max()
    return tied_drop, tied_grow if clear else None
