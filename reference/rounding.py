"""How far float32 arithmetic may be from float64 on networks with convolutions and norms: Monte Carlo arithmetic.

Worst-case bounds carried through a norm or three steps of training say nothing: they grow beyond the numbers. So
errors are drawn. Under `Float32Errors`, PyTorch code in float64 computes each operation exactly, forward and backward,
and then adds to every result an error drawn uniformly within ± what float32 may make of it: √n · UNIT · Σ|aᵢbᵢ| for a
sum of n products (Higham and Mary, "A new approach to probabilistic rounding error analysis", SISC 2019), UNIT times
the operands for single operations. float64 carries the errors on, through norms that divide by a deviation, and over
the kinks of ReLUs that they cross. `tolerances` repeats that and takes four times the largest deviation seen.
"""

import math

import torch
from torch import nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

UNIT = 2.0**-24  # the relative error of one rounding to float32
RUNS, MARGIN = 16, 4


def tolerances(compute, seed, runs=RUNS):
    """For each name of the numbers that `compute` returns, a bound on the error of float32 in any of its numbers."""
    exact, largest = compute(), {}
    for run in range(runs):
        with Float32Errors(1000 * seed + run) as errors:
            drawn = compute(errors)
        for name, value in drawn.items():
            error = (value - exact[name]).abs().max().item()
            largest[name] = max(largest.get(name, 0), error)
    return exact, {name: MARGIN * error for name, error in largest.items()}


class Float32Errors(TorchFunctionMode):
    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        replacement = {
            nn.functional.conv2d: self.conv2d,
            nn.functional.linear: self.linear,
            nn.functional.batch_norm: self.batch_norm,
            nn.functional.avg_pool2d: self.avg_pool2d,
            nn.functional.adaptive_avg_pool2d: self.global_avg_pool2d,
            nn.functional.cross_entropy: self.cross_entropy,
            nn.functional.leaky_relu: self.leaky_relu,
            torch.add: self.add,
            torch.mul: self.multiply,
            torch.sigmoid: self.sigmoid,
        }.get(func, func)
        return replacement(*args, **(kwargs or {}))

    def off(self, value, terms, size):
        """A value that is a sum of `terms` numbers, whose absolute values add up to `size`."""
        draw = 2 * torch.rand(value.shape, generator=self.generator, dtype=value.dtype) - 1
        return value + math.sqrt(terms) * UNIT * size * draw

    def rounded(self, value, operations=1):
        """A result of so many operations on each number, whose constants are rounded too: the same error in all."""
        shared = 2 * torch.rand((), generator=self.generator, dtype=value.dtype) - 1
        return self.off(value, operations**2, value.abs()) + operations * UNIT * shared * value

    def conv2d(self, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return Convolution.apply(self, x, weight, bias, (stride, padding, dilation, groups))

    def linear(self, x, weight, bias=None):
        # A convolution of maps of one pixel.
        y = self.conv2d(x[:, :, None, None], weight[:, :, None, None], bias)
        return y[:, :, 0, 0]

    def avg_pool2d(self, x, kernel_size, stride=None, padding=0, *_):
        y = torch.nn.functional.avg_pool2d(x, kernel_size, stride, padding)
        with torch.no_grad():
            size = torch.nn.functional.avg_pool2d(x.abs(), kernel_size, stride, padding)
        return Off.apply(self, y, kernel_size**2, size)

    def global_avg_pool2d(self, x, _):
        mean, size = (v.mean((2, 3), keepdim=True) for v in (x, x.detach().abs()))
        return Off.apply(self, mean, x[0, 0].numel(), size)

    def add(self, a, b):
        return Off.apply(self, torch.Tensor.__add__(a, b), 1, (a + b).detach().abs())

    def multiply(self, a, b):
        y = torch.Tensor.__mul__(a, b)
        return Off.apply(self, y, 1, y.detach().abs())

    def sigmoid(self, x):
        # exp within 2 ulp, a sum and a quotient.
        y = x.sigmoid()
        return Off.apply(self, y, 6**2, y.detach())

    def leaky_relu(self, x, negative_slope=0.01, **_):
        y = torch.where(x > 0, x, x * negative_slope)
        return Off.apply(self, y, 1, y.detach().abs())

    def cross_entropy(self, logits, labels, label_smoothing=0.0, **_):
        return CrossEntropy.apply(self, logits, labels, label_smoothing)

    def batch_norm(self, x, mean, variance, weight, bias, training=False, momentum=0.1, eps=1e-5):
        return BatchNorm.apply(self, x, mean, variance, weight, bias, training, momentum, eps)


class Off(Function):
    """A result with an error; the gradient gets one too."""

    @staticmethod
    def forward(ctx, errors, y, terms, size):
        ctx.errors = errors
        return errors.off(y, terms, size)

    @staticmethod
    def backward(ctx, g):
        return None, ctx.errors.rounded(g), None, None


def plain_convolution(x, weight, bias, how):
    stride, padding, dilation, groups = how
    return torch.convolution(x, weight, bias, pair(stride), pair(padding), pair(dilation), False, [0, 0], groups)


def pair(n):
    return list(n) if isinstance(n, tuple) else [n, n]


class Convolution(Function):
    @staticmethod
    def forward(ctx, errors, x, weight, bias, how):
        ctx.errors, ctx.how, ctx.with_bias = errors, how, bias is not None
        ctx.save_for_backward(x, weight)
        y = plain_convolution(x, weight, bias, how)
        size = plain_convolution(x.abs(), weight.abs(), None if bias is None else bias.abs(), how)
        return errors.off(y, weight[0].numel() + 1, size)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how

        def gradients(g, x, weight):
            return torch.ops.aten.convolution_backward(
                g, x, weight, [weight.shape[0]], pair(stride), pair(padding), pair(dilation), False, [0, 0], groups, [True] * 3
            )

        terms = weight[:, 0].numel() / groups, g[:, 0].numel(), g[:, 0].numel()
        exact, sizes = gradients(g, x, weight), gradients(g.abs(), x.abs(), weight.abs())
        gx, gw, gb = (ctx.errors.off(*each) for each in zip(exact, terms, sizes))
        return None, gx, gw, gb if ctx.with_bias else None, None


class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, errors, logits, labels, smoothing):
        samples, classes = logits.shape
        p = logits.softmax(1)
        q = nn.functional.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
        below = logits.amax(1, keepdim=True) - logits
        # As `bounds.py` has it: exp, a sum over the classes, a quotient, a few single operations.
        ctx.save_for_backward(errors.off((p - q) / samples, 1, ((classes + 8 + below) * p + 4 * q) / samples))
        loss = -(q * logits.log_softmax(1)).sum(1)
        return errors.off(loss, 1, (classes + 8) * (1 + logits.abs().amax(1))).mean()

    @staticmethod
    def backward(ctx, g):
        return None, g * ctx.saved_tensors[0], None, None


class BatchNorm(Function):
    """Written out, because implementations differ: the variance may be a mean of squares less the squared mean, and
    the result x · scale + shift."""

    @staticmethod
    def forward(ctx, errors, x, running_mean, running_variance, weight, bias, training, momentum, eps):
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        n = x[:, 0].numel()
        if training:
            mean = errors.off(x.mean(axes), n, x.abs().mean(axes))
            variance = errors.off(x.var(axes, correction=0), n, (x * x).mean(axes)).clamp(min=0)
            unbiased = variance * (n / (n - 1))
            running_mean.copy_(errors.rounded(running_mean.lerp(mean, momentum), 2))
            running_variance.copy_(errors.rounded(running_variance.lerp(unbiased, momentum), 3))
        else:
            mean, variance = running_mean, running_variance
        inverse = errors.rounded((variance + eps).rsqrt(), 2)
        mean, inverse, scale = mean.view(shape), inverse.view(shape), (inverse * weight).view(shape)
        normal = (x - mean) * inverse
        spread = (x.abs() + mean.abs()) * inverse
        ctx.errors, ctx.axes, ctx.n, ctx.training = errors, axes, n, training
        ctx.save_for_backward(normal, spread, scale)
        y = normal * weight.view(shape) + bias.view(shape)
        return errors.off(y, 4, spread * weight.abs().view(shape) + bias.abs().view(shape))

    @staticmethod
    def backward(ctx, g):
        normal, spread, scale = ctx.saved_tensors
        off, axes, n = ctx.errors.off, ctx.axes, ctx.n
        shift_gradient = off(g.sum(axes), n, g.abs().sum(axes))
        weight_gradient = off((g * normal).sum(axes), n, (g * spread).abs().sum(axes))
        a, b = (v.view(scale.shape) / n for v in (shift_gradient, weight_gradient))
        gx, size = g, g.abs()
        if ctx.training:
            gx, size = g - a - normal * b, size + a.abs() + spread * b.abs()
        return None, off(gx * scale, 4, size * scale.abs()), None, None, weight_gradient, shift_gradient, None, None, None
