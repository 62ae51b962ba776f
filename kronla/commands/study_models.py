"""The studies' networks on 28×28 pictures of 10 classes, small enough for two cores."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def seeded(make: Callable[[], Module], seed: int = 0) -> Module:
    """The module that ``make()`` gives, with the same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class ConvNet(nn.Module):
    """Three 3×3 convolutions of stride 2 with ReLU, the mean over places, a linear classifier."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures
        for conv in (self.conv1, self.conv2, self.conv3):
            x = torch.relu(conv(x))
        return self.head(x.mean((-1, -2)))


class Block(nn.Module):
    """A transformer's block, normalised before each of its halves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # [N, T, width]
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)  # [N, heads, T, T]
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(-2))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """A vision transformer over 16 patches of 7×7 pixels, two blocks, the mean over tokens, a linear classifier."""

    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.patch = nn.Linear(49, width)
        self.position = nn.Parameter(0.02 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        patches = pictures.reshape(-1, 4, 7, 4, 7).transpose(2, 3).reshape(-1, 16, 49)
        x = self.blocks(self.patch(patches) + self.position)
        return self.head(self.norm(x).mean(-2))
