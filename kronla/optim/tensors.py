"""How a parameter is seen: as a matrix, cut into blocks of at most ``max_dim``; or elementwise, without factors."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Region = tuple[slice, slice]
Setting = TypeVar("Setting", bound=Hashable)

# Cuts fall on multiples of this many elements, so that rows of a block start on a cache line.
_ALIGNMENT = 16


@dataclass(slots=True)
class Block:
    """One block of one parameter in one step: the unit that is preconditioned and grafted as a tensor of its own.

    ``region`` holds its rows and columns in the parameter seen as a matrix of shape ``whole``; it is ``None`` for a
    parameter without factors, which is treated elementwise. Tensors the size of the parameter (``momentum``,
    ``second_moment``) are kept whole in ``state``; tensors per factor are kept under ``"<kind>.<block>.<mode>"``,
    with mode 0 for rows (L) and mode 1 for columns (R).
    """

    param: Tensor
    group: dict[str, Any]
    state: dict[str, Any]
    index: int
    whole: tuple[int, int] | None
    region: Region | None
    grad: Tensor

    @property
    def is_matrix(self) -> bool:
        """Whether it has factors."""
        return self.region is not None

    @property
    def step(self) -> int:
        """How many gradients its parameter has seen, this one included."""
        return self.state["step"]

    def part(self, tensor: Tensor) -> Tensor:
        """This block's part of a contiguous tensor of the parameter's shape, as a view."""
        return part_of(tensor, self.whole, self.region)

    def pair(self, kind: str) -> tuple[Tensor, Tensor] | None:
        """The tensors of one kind (``"factor"``, ``"root"``, ``"basis"``) of rows and columns, or None."""
        if not self.is_matrix:
            return None
        return self.state[f"{kind}.{self.index}.0"], self.state[f"{kind}.{self.index}.1"]

    def read(self, kind: str) -> list[Tensor]:
        """The same as a list, empty without factors."""
        return list(self.pair(kind) or ())

    def write(self, kind: str, tensors: Iterable[Tensor]) -> None:
        for mode, tensor in enumerate(tensors):
            self.state[f"{kind}.{self.index}.{mode}"] = tensor


def matrix_shape(shape: Sequence[int]) -> tuple[int, int] | None:
    """The matrix that a tensor of this shape is seen as, or None where it is treated elementwise.

    A matrix is itself. Of more dimensions, those of size 1 are dropped and all but the first merged: a convolution
    O×I×h×w is O×(I·h·w), a depthwise one C×1×h×w is C×(h·w). Vectors and scalars have no factors.
    """
    sizes = list(shape) if len(shape) == 2 else [size for size in shape if size != 1]
    if len(sizes) < 2:
        return None
    return sizes[0], math.prod(sizes[1:])


def regions(whole: tuple[int, int], max_dim: int) -> list[Region]:
    """Rows and columns of the blocks of a matrix: as few as ``max_dim`` allows, and of nearly equal size.

    Equal blocks cost less than full ones with a remainder: 1152 is 576 + 576, at a third of the eigh of 1024 + 128.
    """
    return [(rows, columns) for rows in _cuts(whole[0], max_dim) for columns in _cuts(whole[1], max_dim)]


def _cuts(size: int, max_dim: int) -> Iterator[slice]:
    count = -(-size // max_dim)
    length = -(-size // count)
    length = min(max_dim, -(-length // _ALIGNMENT) * _ALIGNMENT) if count > 1 else length
    for start in range(0, size, length):
        yield slice(start, min(start + length, size))


def shape_of(region: Region) -> tuple[int, int]:
    """Its numbers of rows and columns."""
    return region[0].stop - region[0].start, region[1].stop - region[1].start


def part_of(tensor: Tensor, whole: tuple[int, int] | None, region: Region | None) -> Tensor:
    """One region of a tensor seen as a matrix (copies only where the strides do not allow a view)."""
    return tensor if whole is None or region is None else tensor.reshape(whole)[region]


def assemble(blocks: Sequence[Block], pieces: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """The inverse of cutting: parameter → tensor of the parameter's shape, from one piece per block."""
    wholes: dict[Tensor, Tensor] = {}
    for block, piece in zip(blocks, pieces, strict=True):
        if block.param.numel() == piece.numel():
            wholes[block.param] = piece.reshape(block.param.shape)
        else:
            if block.param not in wholes:
                wholes[block.param] = torch.empty(block.param.shape, dtype=piece.dtype, device=piece.device)
            block.part(wholes[block.param]).copy_(piece)
    return wholes


def alike(
    blocks: Iterable[Block], settings: Callable[[dict[str, Any]], Setting]
) -> Iterator[tuple[Setting, list[Block]]]:
    """The blocks that have factors, by equal settings of their parameter groups: one native call serves each."""
    found: dict[Setting, list[Block]] = {}
    for block in blocks:
        if block.is_matrix:
            found.setdefault(settings(block.group), []).append(block)
    yield from found.items()
