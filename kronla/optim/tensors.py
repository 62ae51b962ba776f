"""How a parameter is seen: a tensor of some modes, cut into blocks of at most ``max_dim``; which modes have factors."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor

Shape = tuple[int, ...]
Region = tuple[slice, ...]
Setting = TypeVar("Setting", bound=Hashable)

# Cuts fall on multiples of this many elements, so that rows of a block start on a cache line.
_ALIGNMENT = 16


@dataclass(slots=True)
class Block:
    """One block of one parameter in one step: the unit that is preconditioned and grafted as a tensor of its own.

    ``region`` is its part of the parameter seen as a tensor of shape ``whole``. Tensors the size of the parameter
    (``momentum``, ``second_moment``) are kept whole in ``state``; tensors of one factor under
    ``"<kind>.<block>.<mode>"``: ``factor``, its ``root`` or ``basis``, its ``health``. A mode without a factor has
    none of them, and the identity for a preconditioner; a factor that is a vector is the diagonal of a matrix.
    """

    param: Tensor
    group: dict[str, Any]
    state: dict[str, Any]
    index: int
    whole: Shape
    region: Region
    grad: Tensor

    @property
    def step(self) -> int:
        """How many gradients its parameter has seen, this one included."""
        return self.state["step"]

    @property
    def sides(self) -> list["Side"]:
        """Its factors, one for each mode that has one; none for a block that is treated elementwise."""
        return [Side(self, mode) for mode in range(len(self.whole)) if f"factor.{self.index}.{mode}" in self.state]

    def part(self, kind: str) -> Tensor:
        """This block's part of a tensor of the parameter's size, as a view."""
        return self.state[kind].view(self.whole)[self.region]

    def modes(self, kind: str) -> list[Tensor | None]:
        """The tensors of one kind, one for each mode; None for a mode without."""
        return [self.state.get(f"{kind}.{self.index}.{mode}") for mode in range(len(self.whole))]


@dataclass(slots=True)
class Side:
    """One mode of a block, and what is kept of it."""

    block: Block
    mode: int

    def __getitem__(self, kind: str) -> Tensor:
        return self.block.state[f"{kind}.{self.block.index}.{self.mode}"]

    def __setitem__(self, kind: str, value: Tensor) -> None:
        self.block.state[f"{kind}.{self.block.index}.{self.mode}"] = value


def seen_as(shape: Sequence[int], merge_dims: bool) -> Shape:
    """The modes of a parameter of this shape; dimensions of size 1 are dropped, except from a matrix.

    A matrix is itself. Of more dimensions, each is a mode, or with ``merge_dims`` all but the first are one: a
    convolution O×I×h×w is O×(I·h·w), a depthwise one C×1×h×w is C×(h·w). Everything else is a vector.
    """
    sizes = list(shape) if len(shape) == 2 else [size for size in shape if size != 1]
    if len(sizes) < 2:
        return (math.prod(sizes),)
    return (sizes[0], math.prod(sizes[1:])) if merge_dims else tuple(sizes)


def mode_kinds(whole: Shape, group: dict[str, Any]) -> list[str]:
    """For each mode the factor that it has: ``"full"``, ``"diagonal"``, or ``"identity"`` for none."""
    if len(whole) == 1 and group["vectors"] != "full":
        return [group["vectors"]]
    cut = group["large"] == "blocks"
    return ["full" if cut or size <= group["max_dim"] else group["large"] for size in whole]


def regions(whole: Shape, kinds: Sequence[str], max_dim: int) -> list[Region]:
    """The blocks of a tensor: modes with full factors are cut into as few parts as ``max_dim`` allows, nearly equal.

    Equal blocks cost less than full ones with a remainder: 1152 is 576 + 576, at a third of the eigh of 1024 + 128.
    """
    cuts = [_cuts(size, max_dim if kind == "full" else size) for size, kind in zip(whole, kinds, strict=True)]
    return list(product(*cuts))


def _cuts(size: int, max_dim: int) -> list[slice]:
    count = -(-size // max_dim)
    length = -(-size // count)
    length = min(max_dim, -(-length // _ALIGNMENT) * _ALIGNMENT) if count > 1 else length
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def assemble(blocks: Sequence[Block], pieces: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """The inverse of cutting: parameter → tensor of the parameter's shape, from one piece per block."""
    wholes: dict[Tensor, Tensor] = {}
    for block, piece in zip(blocks, pieces, strict=True):
        if block.param.numel() == piece.numel():
            wholes[block.param] = piece.reshape(block.param.shape)
        else:
            if block.param not in wholes:
                wholes[block.param] = torch.empty(block.param.shape, dtype=piece.dtype, device=piece.device)
            wholes[block.param].view(block.whole)[block.region].copy_(piece)
    return wholes


def alike(blocks: Iterable[Block], settings: Callable[[Block], Setting]) -> Iterator[tuple[Setting, list[Block]]]:
    """The blocks that have factors, by equal settings of an op: one native call serves each."""
    found: dict[Setting, list[Block]] = {}
    for block in blocks:
        if block.sides:
            found.setdefault(settings(block), []).append(block)
    yield from found.items()
