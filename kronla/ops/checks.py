"""The checks that speak to users, written once for all devices and all families.

``TypeError``: Python type or dtype. ``ValueError``: shape, range, device, layout, overlap. ``NotImplementedError``:
complex, sparse, a device that has no kernels. One sentence each: the argument, what was given, what is allowed.
Every function that takes a tensor returns it detached: no operation of kronla is differentiable.

They are most of the fixed cost of a call: what only a message needs, such as the text of a name, is made when it fails.
"""

from __future__ import annotations

import math
import numbers
import operator
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from kronla import _native

ACCUMULATORS = (torch.float32, torch.float64)
GRADIENTS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STRIDED = torch.strided
LARGEST_INTEGER = 2**31 - 1  # of sizes and steps
_LARGEST_FLOAT = sys.float_info.max
DEVICES = ("cpu", "meta", *(("cuda",) if _native.has_cuda_kernels() else ()))

Name = str | tuple["Name", int]  # of an argument, or of an element of one: ("Ls", 3) is shown as Ls[3]
Named = tuple[Name, Tensor]


def text(name: Name) -> str:
    """A name as messages show it."""
    return name if isinstance(name, str) else f"{text(name[0])}[{name[1]}]"


def _tensor(name: Name, value: object, dtypes: tuple[torch.dtype, ...], last: int) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{text(name)} must be a torch.Tensor, got {type(value).__name__}.")
    if value.layout is not STRIDED:
        raise NotImplementedError(f"{text(name)} must be a dense (strided) tensor, got layout {value.layout}.")
    if value.dtype not in dtypes:
        if value.dtype.is_complex:
            raise NotImplementedError(f"{text(name)} must be real, got dtype {value.dtype}.")
        allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{text(name)} must have dtype {allowed}, got {value.dtype}.")
    if not value.is_cpu and value.device.type not in DEVICES:
        raise NotImplementedError(
            f"{text(name)} is on {value.device}, for which kronla has no kernels; move it to cpu."
        )
    if value.ndim < last:
        raise ValueError(f"{text(name)} must have at least {last} dimensions, got shape {tuple(value.shape)}.")
    return value.detach() if value.requires_grad else value


def accumulator(name: Name, value: object, last: int = 2) -> Tensor:
    """A float32 or float64 tensor with at least ``last`` dimensions."""
    return _tensor(name, value, ACCUMULATORS, last)


def gradient(name: Name, value: object, last: int = 2) -> Tensor:
    """A float64, float32, bfloat16 or float16 tensor with at least ``last`` dimensions."""
    return _tensor(name, value, GRADIENTS, last)


def square(name: Name, value: object) -> Tensor:
    """A float32 or float64 batch of square matrices."""
    tensor = _tensor(name, value, ACCUMULATORS, 2)
    shape = tensor.shape
    if shape[-1] != shape[-2]:
        raise ValueError(f"{text(name)} must be square in its last two dimensions, got shape {tuple(shape)}.")
    return tensor


def shape(name: Name, tensor: Tensor, expected: tuple[int, ...], *companions: tuple[Name, Tensor | int]) -> None:
    """Raises unless the tensor has the shape that its companions ask for."""
    if tensor.shape != expected:
        why = ", ".join(
            f"{text(other)} is {tuple(value.shape)}" if isinstance(value, Tensor) else f"{text(other)} = {value}"
            for other, value in companions
        )
        raise ValueError(f"{text(name)} must have shape {tuple(expected)} ({why}), got {tuple(tensor.shape)}.")


def together(tensors: Sequence[Named], free_dtype: Sequence[Named] = ()) -> None:
    """One device for all, and one dtype for all but the gradients in ``free_dtype``."""
    everything = [*tensors, *free_dtype]
    if len(everything) < 2:
        return
    first_name, first = everything[0]
    device, dtype = first.device, first.dtype
    for name, tensor in everything[1:]:
        if tensor.device != device:
            raise ValueError(
                f"{text(name)} must be on the same device as {text(first_name)} ({device}), got {tensor.device}."
            )
    for name, tensor in tensors[1:]:
        if tensor.dtype != dtype:
            raise TypeError(
                f"{text(name)} must have the same dtype as {text(first_name)} ({dtype}), got {tensor.dtype}."
            )


def sequence(name: Name, value: object) -> list:
    """A list or tuple, as a list."""
    if not isinstance(value, (list, tuple)) and (isinstance(value, (Tensor, str)) or not isinstance(value, Sequence)):
        raise TypeError(f"{text(name)} must be a list or tuple, got {type(value).__name__}.")
    return list(value)


def same_length(**lists: Sequence) -> None:
    """Raises unless all lists have the same length."""
    if len({len(values) for values in lists.values()}) > 1:
        given = ", ".join(f"{name} has {len(values)}" for name, values in lists.items())
        raise ValueError(f"{' and '.join(lists)} must have the same length: {given}.")


def modes(
    name: Name, matrices: object, name_G: Name, G: object, squares: bool
) -> tuple[list[int], list[Named], Tensor]:
    """The dimensions of a tensor that have a matrix (or a square factor), these matrices, and the tensor."""
    entries = sequence(name, matrices)
    tensor = gradient(name_G, G, last=max(len(entries), 1) if squares else len(entries))
    split = tensor.ndim - len(entries)
    dims = tuple(tensor.shape)
    which: list[int] = []
    named: list[Named] = []
    for i, value in enumerate(entries):
        if value is None:
            continue
        label = (name, i)
        matrix = square(label, value) if squares else accumulator(label, value)
        if matrix.ndim - 2 != split:
            raise ValueError(
                f"{text(name)} must have one entry per dimension of {text(name_G)} after the {matrix.ndim - 2} batch"
                f" dimensions of {text(label)}, got {len(entries)} entries for shape {dims}."
            )
        rows = dims[split + i] if squares else matrix.shape[-2]
        shape(label, matrix, (*dims[:split], rows, dims[split + i]), (name_G, tensor))
        which.append(i)
        named.append((label, matrix))
    return which, named, tensor


def number(name: str, value: object) -> float:
    """A finite real number."""
    if type(value) not in (float, int) and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    real: Any = value  # numbers.Real has no comparisons for a type checker
    if type(value) not in (float, int):
        try:
            real = float(real)  # a narrow type would compare after rounding the bound to itself
        except OverflowError:
            real = math.inf
    if not -_LARGEST_FLOAT <= real <= _LARGEST_FLOAT:  # torch.compile traces a comparison, not math.isfinite
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(real)


def at_least(name: str, value: object, low: float) -> float:
    """A finite real number ≥ low."""
    result = number(name, value)
    if result < low:
        raise ValueError(f"{name} must be at least {low:g}, got {value}.")
    return result


def within(name: str, value: object, low: float, high: float) -> float:
    """A real number in [low, high]."""
    result = number(name, value)
    if not low <= result <= high:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}], got {value}.")
    return result


def integer(name: str, value: object, low: int) -> int:
    """An integer from low to LARGEST_INTEGER."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}.")
    result = int(value)
    if not low <= result <= LARGEST_INTEGER:
        raise ValueError(f"{name} must be in [{low}, {LARGEST_INTEGER}], got {result}.")
    return result


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """One of the allowed words."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {type(value).__name__}.")
    if value not in allowed:
        raise NotImplementedError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return value


def writable(outputs: Sequence[Named], inputs: Sequence[Named]) -> None:
    """Raises where an output overlaps itself (expanded), another output, or an input. In eager mode."""
    if torch.compiler.is_compiling():
        return
    for name, tensor in outputs:
        if tensor.is_neg():
            raise ValueError(
                f"{text(name)} is updated in place but is a lazily negated view; call resolve_neg() first."
            )
        if not tensor.is_contiguous() and _overlaps_itself(tensor):
            raise ValueError(
                f"{text(name)} is updated in place but overlaps itself (strides {tensor.stride()}); clone it first."
            )
    everything = [*outputs, *inputs]
    if not everything or everything[0][1].is_meta or isinstance(everything[0][1], FakeTensor):
        return  # on one device, and fake all or none: no memory
    begins = [tensor.data_ptr() for _, tensor in everything]  # 0 of an empty one
    lengths = [tensor.nbytes if tensor.is_contiguous() else _extent(tensor) for _, tensor in everything]
    ends = list(map(operator.add, begins, lengths))
    if _disjoint(begins, ends):
        return
    active: list[int] = []
    for begin, _, i in sorted(zip(begins, ends, range(len(begins)), strict=True)):
        active = [j for j in active if ends[j] > begin]
        for j in active:
            if min(i, j) < len(outputs) and _share_memory(everything[i][1], everything[j][1]):
                written, read = (i, j) if i < len(outputs) else (j, i)
                raise ValueError(
                    f"{text(everything[written][0])} is updated in place but shares memory with"
                    f" {text(everything[read][0])}; clone one of them."
                )
        active.append(i)


def _disjoint(begins: list[int], ends: list[int]) -> bool:
    """Whether no two intervals meet: then, in order, each begins behind the end of the one before."""
    return not any(map(operator.lt, sorted(begins)[1:], sorted(ends)))


def _extent(tensor: Tensor) -> int:
    """From the first byte to behind the last one, of a tensor that is not empty."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.itemsize * (1 + sum((size - 1) * stride for size, stride in steps))


def _overlaps_itself(tensor: Tensor) -> bool:
    """Whether two elements of a strided tensor, which is not empty, have one address."""
    reach = 0
    for stride, size in sorted((stride, size) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        if size > 1:
            if stride <= reach:
                offsets = _addresses(tensor)
                return offsets.unique().numel() < offsets.numel()
            reach += (size - 1) * stride
    return False


def _share_memory(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors with intersecting spans have a byte in common."""
    if a.is_contiguous() and b.is_contiguous():
        return True
    if _in_separate_columns(a, b):
        return False
    return bool(torch.isin(_addresses(a), _addresses(b)).any())


def _in_separate_columns(a: Tensor, b: Tensor) -> bool:
    """Whether some period, a stride of both, keeps their bytes apart: blocks side by side in one buffer."""
    base = min(a.data_ptr(), b.data_ptr())
    strides = [
        (size, stride * t.element_size()) for t in (a, b) for size, stride in zip(t.shape, t.stride(), strict=True)
    ]
    for period in {stride for size, stride in strides if size > 1 and stride > 0}:
        intervals = []
        for tensor in (a, b):
            item = tensor.element_size()
            steps = [(size, stride * item) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
            extent = item + sum((size - 1) * stride for size, stride in steps if stride % period != 0)
            begin = (tensor.data_ptr() - base) % period
            intervals.append((begin, begin + extent))
        (begin_a, end_a), (begin_b, end_b) = intervals
        if max(end_a, end_b) <= period and (end_a <= begin_b or end_b <= begin_a):
            return True
    return False


def _addresses(tensor: Tensor) -> Tensor:
    """The address of every byte of every element."""
    addresses = torch.arange(tensor.element_size())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        addresses = (addresses[..., None] + torch.arange(size) * (stride * tensor.element_size())).flatten()
    return addresses + tensor.data_ptr()
