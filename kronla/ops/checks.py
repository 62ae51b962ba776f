"""The checks that speak to users, written once for all devices and all families.

``TypeError``: Python type or dtype. ``ValueError``: shape, range, device, layout, overlap. ``NotImplementedError``:
complex, sparse, a device that has no kernels. One sentence each: the argument, what was given, what is allowed.
Every function that takes a tensor returns it detached: no operation of kronla is differentiable.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from kronla import _native

ACCUMULATORS = (torch.float32, torch.float64)
GRADIENTS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
LARGEST_INTEGER = 2**31 - 1  # of sizes and steps
_LARGEST_FLOAT = sys.float_info.max
DEVICES = ("cpu", "meta", *(("cuda",) if _native.has_cuda_kernels() else ()))


def _tensor(name: str, value: object, dtypes: tuple[torch.dtype, ...]) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}.")
    if value.layout != torch.strided:
        raise NotImplementedError(f"{name} must be a dense (strided) tensor, got layout {value.layout}.")
    if value.dtype.is_complex:
        raise NotImplementedError(f"{name} must be real, got dtype {value.dtype}.")
    if value.dtype not in dtypes:
        allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must have dtype {allowed}, got {value.dtype}.")
    if value.device.type not in DEVICES:
        raise NotImplementedError(f"{name} is on {value.device}, for which kronla has no kernels; move it to cpu.")
    return value.detach()


def accumulator(name: str, value: object, last: int = 2) -> Tensor:
    """A float32 or float64 tensor with at least ``last`` dimensions."""
    return _dimensions(name, _tensor(name, value, ACCUMULATORS), last)


def gradient(name: str, value: object, last: int = 2) -> Tensor:
    """A float64, float32, bfloat16 or float16 tensor with at least ``last`` dimensions."""
    return _dimensions(name, _tensor(name, value, GRADIENTS), last)


def _dimensions(name: str, tensor: Tensor, last: int) -> Tensor:
    if tensor.ndim < last:
        raise ValueError(f"{name} must have at least {last} dimensions, got shape {tuple(tensor.shape)}.")
    return tensor


def square(name: str, value: object) -> Tensor:
    """A float32 or float64 batch of square matrices."""
    tensor = accumulator(name, value)
    if tensor.shape[-1] != tensor.shape[-2]:
        raise ValueError(f"{name} must be square in its last two dimensions, got shape {tuple(tensor.shape)}.")
    return tensor


def shape(name: str, tensor: Tensor, expected: Sequence[int], why: str) -> None:
    """Raises unless the tensor has the shape that its companions ask for."""
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{name} must have shape {tuple(expected)} ({why}), got {tuple(tensor.shape)}.")


def together(tensors: Sequence[tuple[str, Tensor]], free_dtype: Sequence[tuple[str, Tensor]] = ()) -> None:
    """One device for all, and one dtype for all but the gradients in ``free_dtype``."""
    everything = [*tensors, *free_dtype]
    for name, tensor in everything[1:]:
        first_name, first = everything[0]
        if tensor.device != first.device:
            raise ValueError(
                f"{name} must be on the same device as {first_name} ({first.device}), got {tensor.device}."
            )
    for name, tensor in tensors[1:]:
        first_name, first = tensors[0]
        if tensor.dtype != first.dtype:
            raise TypeError(f"{name} must have the same dtype as {first_name} ({first.dtype}), got {tensor.dtype}.")


def sequence(name: str, value: object) -> list:
    """A list or tuple, as a list."""
    if isinstance(value, (Tensor, str)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list or tuple, got {type(value).__name__}.")
    return list(value)


def same_length(**lists: Sequence) -> None:
    """Raises unless all lists have the same length."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{' and '.join(lengths)} must have the same length: {given}.")


def number(name: str, value: object) -> float:
    """A finite real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}.")
    real: Any = value  # numbers.Real has no comparisons for a type checker
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
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
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


def writable(outputs: Sequence[tuple[str, Tensor]], inputs: Sequence[tuple[str, Tensor]]) -> None:
    """Raises where an output overlaps itself (expanded), another output, or an input. In eager mode."""
    if torch.compiler.is_compiling():
        return
    spans = []
    for name, tensor in outputs:
        if tensor.is_neg():
            raise ValueError(f"{name} is updated in place but is a lazily negated view; call resolve_neg() first.")
        if _overlaps_itself(tensor):
            raise ValueError(
                f"{name} is updated in place but overlaps itself (strides {tensor.stride()}); clone it first."
            )
    for is_output, named in ((True, outputs), (False, inputs)):
        for name, tensor in named:
            if tensor.numel() > 0 and tensor.device.type != "meta" and not isinstance(tensor, FakeTensor):
                begin = tensor.data_ptr()
                spans.append((begin, begin + _extent(tensor) * tensor.element_size(), is_output, name, tensor))
    spans.sort(key=lambda span: span[:2])
    active: list[tuple[int, int, bool, str, Tensor]] = []
    for span in spans:
        active = [other for other in active if other[1] > span[0]]
        for other in active:
            if (span[2] or other[2]) and _share_memory(span[4], other[4]):
                written, read = (span[3], other[3]) if span[2] else (other[3], span[3])
                raise ValueError(f"{written} is updated in place but shares memory with {read}; clone one of them.")
        active.append(span)


def _extent(tensor: Tensor) -> int:
    """From the first element to behind the last one, in elements."""
    if tensor.is_contiguous():
        return tensor.numel()
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _overlaps_itself(tensor: Tensor) -> bool:
    """Whether two elements of a strided tensor have one address."""
    if tensor.is_contiguous() or tensor.numel() == 0:
        return False
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
