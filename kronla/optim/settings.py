"""What an optimizer's settings may be: one sentence for each that may not."""

import math
from collections.abc import Callable
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from kronla.optim.grafting import METHODS as GRAFTINGS

BASIS_METHODS = ("auto", "rotation", "qr", "eigh")


def check_settings(group: dict[str, Any]) -> None:
    """Raise TypeError or ValueError, naming the setting, where a parameter group holds one that is not allowed.

    Settings that the group's optimizer does not have are passed over. An exponent is turned into a float, which a
    saved state can hold.
    """
    for name, (check, allowed) in _ALLOWED.items():
        if name in group and not check(_number(name, group[name], allowed)):
            raise ValueError(f"{name} must be {allowed}, but is {group[name]!r}.")
    if isinstance(group.get("exponent"), Fraction):
        group["exponent"] = float(group["exponent"])


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


_NOT_NUMBERS = frozenset({"betas", "method", "grafting", "maximize", "foreach"})

_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (_finite_positive_or_zero, "a finite number ≥ 0"),
    "betas": (_betas, "a pair of numbers in [0, 1)"),
    "eps": (_finite_positive_or_zero, "a finite number ≥ 0"),
    "weight_decay": (_finite_positive_or_zero, "a finite number ≥ 0"),
    "factor_beta": (lambda v: v is None or 0.0 <= v <= 1.0, "None (which means betas[1]) or a number in [0, 1]"),
    "damping": (_finite_positive_or_zero, "a finite number ≥ 0"),
    "relative_damping": (_finite_positive_or_zero, "a finite number ≥ 0"),
    "exponent": (
        lambda v: v is None or (math.isfinite(v) and v < 0),
        "None (which means -1/(2k) for a tensor of order k) or a finite number < 0",
    ),
    "update_every": (_whole(1), "a whole number ≥ 1"),
    "max_steps": (_whole(0), "a whole number ≥ 0"),
    "tol": (lambda v: 0.0 <= v <= 1.0, "a number in [0, 1]"),
    "max_dim": (_whole(1), "a whole number ≥ 1"),
    "method": (lambda v: v in BASIS_METHODS, 'one of "auto", "rotation", "qr", "eigh"'),
    "grafting": (lambda v: v in GRAFTINGS, 'one of "adam", None'),
    "maximize": (lambda v: isinstance(v, bool), "True or False"),
    "foreach": (lambda v: v is None or isinstance(v, bool), "True, False or None (which means True)"),
}
