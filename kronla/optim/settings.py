"""What an optimizer's settings may be: one sentence for each that may not."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from kronla.optim.grafting import METHODS as GRAFTINGS

BASIS_METHODS = ("auto", "rotation", "qr", "eigh")


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The settings among the arguments of a constructor: its ``locals()`` without the parameters themselves."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}


def check_settings(group: dict[str, Any], diagonal: bool) -> None:
    """Raise TypeError or ValueError, naming the setting, where a parameter group holds one that is not allowed.

    Settings that the group's optimizer does not have are passed over; ``diagonal`` says whether it can make use of
    diagonal factors. Numbers become Python's own, see :func:`make_plain_`.
    """
    make_plain_(group)
    for name, (check, allowed) in _ALLOWED.items():
        if name in group and not check(_number(name, group[name], allowed)):
            raise ValueError(f"{name} must be {allowed}, but is {group[name]!r}.")
    for name in ("large", "vectors"):
        if group[name] == "diagonal" and not diagonal:
            raise ValueError(f'{name} must not be "diagonal" here: the eigenbasis of that is the identity.')


def make_plain_(group: dict[str, Any]) -> None:
    """Turn a group's numbers, NumPy's and Fractions among them, into int and float.

    A file that is read with ``weights_only=True`` may hold no others.
    """
    group.update({name: _plain(value) for name, value in group.items() if name != "params"})


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _number(name: str, value: Any, allowed: str) -> Any:
    """The value to check: Python's number where a number is asked for, else the value as it is."""
    if name in _NOT_NUMBERS or (value is None and "None" in allowed):
        return value
    if isinstance(value, Tensor) and value.numel() == 1 and name == "lr":
        return value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {allowed}, but is {value!r} of type {type(value).__name__}.")
    return value


def _in_unit(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value < 1.0


def _betas(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(_in_unit(beta) for beta in value)


def _finite_positive_or_zero(value: Any) -> bool:
    return math.isfinite(value) and value >= 0


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _one_of(*allowed: Any) -> tuple[Callable[[Any], bool], str]:
    names = ", ".join("None" if value is None else f'"{value}"' for value in allowed)
    return lambda value: value in allowed, f"one of {names}"


_FLAG = (lambda value: isinstance(value, bool), "True or False")
_POSITIVE_OR_ZERO = (_finite_positive_or_zero, "a finite number ≥ 0")

_NOT_NUMBERS = frozenset({"betas", "method", "grafting", "maximize", "foreach", "merge_dims", "large", "vectors"})

_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": _POSITIVE_OR_ZERO,
    "betas": (_betas, "a pair of numbers in [0, 1)"),
    "eps": _POSITIVE_OR_ZERO,
    "weight_decay": _POSITIVE_OR_ZERO,
    "factor_beta": (lambda v: v is None or 0.0 <= v <= 1.0, "None (which means betas[1]) or a number in [0, 1]"),
    "damping": _POSITIVE_OR_ZERO,
    "relative_damping": _POSITIVE_OR_ZERO,
    "exponent": (
        lambda v: v is None or (math.isfinite(v) and v < 0),
        "None (which means the optimizer's own) or a finite number < 0",
    ),
    "update_every": (_whole(1), "a whole number ≥ 1"),
    "early_steps": (_whole(1), "a whole number ≥ 1"),
    "max_steps": (_whole(0), "a whole number ≥ 0"),
    "tol": (lambda v: 0.0 <= v <= 1.0, "a number in [0, 1]"),
    "method": _one_of(*BASIS_METHODS),
    "grafting": _one_of(*GRAFTINGS),
    "max_dim": (_whole(1), "a whole number ≥ 1"),
    "merge_dims": _FLAG,
    "large": _one_of("blocks", "diagonal", "identity"),
    "vectors": _one_of("identity", "diagonal", "full"),
    "max_failures": (_whole(1), "a whole number ≥ 1"),
    "maximize": _FLAG,
    "foreach": (lambda v: v is None or isinstance(v, bool), "True, False or None (which means True)"),
}
