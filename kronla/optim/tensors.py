"""How a parameter is seen: a tensor of some modes, cut into blocks of at most ``max_dim``; which modes have factors."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
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

    sides: list["Side"] = field(default_factory=list)
    """Its factors, one for each mode that has one; none for a block that is treated elementwise."""

    @property
    def step(self) -> int:
        """How many gradients its parameter has seen, this one included."""
        return self.state["step"]

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


@dataclass(frozen=True, slots=True)
class View:
    """How a parameter is seen: its modes, the factor that each has, and its blocks."""

    whole: Shape
    kinds: tuple[str, ...]
    """For each mode ``"full"``, ``"diagonal"``, or ``"identity"`` for none."""
    regions: tuple[Region, ...]

    def blocks(self, param: Tensor, group: dict[str, Any], state: dict[str, Any], grad: Tensor) -> list[Block]:
        """The blocks of one parameter, each with its part of ``grad``."""
        parts, modes = grad.reshape(self.whole), [m for m, kind in enumerate(self.kinds) if kind != "identity"]
        found = [Block(param, group, state, i, self.whole, cut, parts[cut]) for i, cut in enumerate(self.regions)]
        for block in found:
            block.sides = [Side(block, mode) for mode in modes]
        return found


def view_of(param: Tensor, group: dict[str, Any]) -> View:
    """How this parameter is seen with the settings of its group."""
    return _view(tuple(param.shape), group["merge_dims"], group["max_dim"], group["large"], group["vectors"])


@lru_cache(maxsize=4096)
def _view(shape: Shape, merge_dims: bool, max_dim: int, large: str, vectors: str) -> View:
    whole = seen_as(shape, merge_dims)
    kinds = mode_kinds(whole, max_dim, large, vectors)
    return View(whole, kinds, regions(whole, kinds, max_dim))


def seen_as(shape: Sequence[int], merge_dims: bool) -> Shape:
    """The modes of a parameter of this shape; dimensions of size 1 are dropped, except from a matrix.

    A matrix is itself. Of more dimensions, each is a mode, or with ``merge_dims`` all but the first are one: a
    convolution O×I×h×w is O×(I·h·w), a depthwise one C×1×h×w is C×(h·w). Everything else is a vector.
    """
    sizes = list(shape) if len(shape) == 2 else [size for size in shape if size != 1]
    if len(sizes) < 2:
        return (math.prod(sizes),)
    return (sizes[0], math.prod(sizes[1:])) if merge_dims else tuple(sizes)


def mode_kinds(whole: Shape, max_dim: int, large: str, vectors: str) -> tuple[str, ...]:
    """The factor of each mode. What is cut into blocks is full."""
    if len(whole) == 1 and vectors != "full":
        return (vectors,)
    return tuple("full" if large == "blocks" or size <= max_dim else large for size in whole)


def regions(whole: Shape, kinds: Sequence[str], max_dim: int) -> tuple[Region, ...]:
    """The blocks of a tensor: modes with full factors are cut into as few parts as ``max_dim`` allows, nearly equal.

    Equal blocks cost less than full ones with a remainder: 1152 is 576 + 576, at a third of the eigh of 1024 + 128.
    """
    cuts = [_cuts(size, max_dim if kind == "full" else size) for size, kind in zip(whole, kinds, strict=True)]
    return tuple(product(*cuts))


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
