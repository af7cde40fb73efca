"""Wide residual networks for CIFAR in plain PyTorch (Zagoruyko and Komodakis, 2016), as the RigL paper trains them and
without dropout: h = relu(bn1(x)), conv2(relu(bn2(conv1(h)))) + skip, where the skip is x, or a 1×1 convolution of h
where the shape changes."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.convShortcut = None
        if stride != 1 or inputs != channels:
            self.convShortcut = nn.Conv2d(inputs, channels, 1, stride, bias=False)

    def forward(self, x):
        h = torch.relu(self.bn1(x))
        skip = x if self.convShortcut is None else self.convShortcut(h)
        return torch.add(self.conv2(torch.relu(self.bn2(self.conv1(h)))), skip)


class Group(nn.Module):
    def __init__(self, blocks, inputs, channels, stride):
        super().__init__()
        self.layer = nn.Sequential(
            *(Block(inputs if i == 0 else channels, channels, stride if i == 0 else 1) for i in range(blocks))
        )

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth=22, width=2, classes=10):
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        assert rest == 0, "the depth is 6n + 4"
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1 = Group(blocks, 16, 16 * width, 1)
        self.block2 = Group(blocks, 16 * width, 32 * width, 2)
        self.block3 = Group(blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes)

    def forward(self, x):
        h = self.block3(self.block2(self.block1(self.conv1(x))))
        h = nn.functional.adaptive_avg_pool2d(torch.relu(self.bn1(h)), 1)
        return self.fc(h.flatten(1))
