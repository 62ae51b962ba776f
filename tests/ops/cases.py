"""Example calls of every public op: one table, read by the tests that hold for all of them.

Every tensor of a :class:`Case` has the batch dimensions asked for in front, so that a batch can be
cut into its matrices, and lists for the ``foreach_*`` ops be made of calls of the single op.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import kronla
from kronla.testing import matrices


class Call(NamedTuple):
    """Arguments of a public op."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, function: Callable[..., Any] | None = None) -> list[Tensor]:
        """Calls the op: all tensors that it returned, and for in-place ops those it wrote to."""
        return tensors(self.outputs(function))

    def run_each(self) -> list[list[Tensor]]:
        """Calls a ``foreach_*`` op: for each element of its lists what :meth:`run` gives for the single op."""
        outputs = self.outputs()
        return [tensors(each) for each in (zip(*outputs, strict=True) if self.in_place else outputs)]

    def outputs(self, function: Callable[..., Any] | None = None) -> Any:
        result = (function or getattr(kronla, self.name))(*self.args, **self.kwargs)
        return self.args[: 2 if self.name.endswith("update_factors_") else 1] if self.in_place else result

    @property
    def in_place(self) -> bool:
        return self.name.endswith("_")

    def map(self, function: Callable[[Tensor], Tensor]) -> "Call":
        """The same call on other tensors."""
        return Call(self.name, *pytree.tree_map_only(Tensor, function, (self.args, self.kwargs)))

    def clone(self) -> "Call":
        return self.map(torch.clone)

    def __getitem__(self, index):  # of the batch
        return self.map(lambda x: x[index].clone())


def tensors(tree: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor)]


@dataclass(frozen=True)
class Case:
    """An op with one choice of its arguments."""

    label: str
    name: str
    tensors: Callable[["Inputs"], tuple[Any, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    tensor_options: Callable[["Inputs"], dict[str, Any]] = lambda inputs: {}
    bad: int = 0  # which argument a NaN is put into, to see that it stays in its matrix
    gradient: int | None = None  # which of its tensors is a gradient, and may have a dtype of its own

    def call(self, m: int = 6, n: int = 4, batch=(), dtype=torch.float32, device="cpu", seed=0) -> Call:
        inputs = Inputs(m, n, tuple(batch), dtype, seed)
        call = Call(self.name, self.tensors(inputs), self.options | self.tensor_options(inputs))
        return call.map(lambda x: x.to(device))


@dataclass(frozen=True)
class Inputs:
    """Makes the tensors of a call; k tells apart those of one call."""

    m: int
    n: int
    batch: tuple[int, ...]
    dtype: torch.dtype
    seed: int

    def spd(self, n: int, k: int = 0, condition: float = 1e3) -> Tensor:
        return matrices.symmetric("log-uniform", n, condition, self.batch, self.dtype, 100 * self.seed + k)

    def gradient(self, *shape: int, k: int = 0, dtype=None) -> Tensor:
        return matrices.gradients(*self.batch, *shape, dtype=dtype or self.dtype, seed=100 * self.seed + k)

    def basis(self, n: int) -> Tensor:
        """Near that of spd(n): turned by about a tenth."""
        Q = torch.linalg.eigh(self.spd(n).double())[1].flip(-1)
        turned = Q + 0.1 / max(n, 1) ** 0.5 * matrices.gradients(*self.batch, n, n, decay=0, dtype=Q.dtype, seed=7)
        return torch.linalg.qr(turned)[0].to(self.dtype)


def _factors(x: Inputs):
    return x.spd(x.m), x.spd(x.n, 1), x.gradient(x.m, x.n, k=2)


def _modes(x: Inputs):
    return [x.spd(x.m), None, x.spd(3, 1)], x.gradient(x.m, x.n, 3, k=2)


def _basis(x: Inputs):
    return x.spd(x.m), x.basis(x.m)


def _covariance(x: Inputs):
    """m and n are cut to at most 8: H has (mn)² entries."""
    m, n = min(x.m, 8), min(x.n, 8)
    return x.spd(m * n), m, n


CASES = [
    Case("update_factors_", "update_factors_", _factors, {"beta": 0.9}, bad=2, gradient=2),
    Case(
        "update_factors_-weighted",
        "update_factors_",
        _factors,
        {"beta": 0.5, "alpha": 2.0},
        lambda x: {"weights": (x.spd(x.m, 5), x.spd(x.n, 6))},
        bad=2,
        gradient=2,
    ),
    Case(
        "update_factors_-bfloat16",
        "update_factors_",
        lambda x: (None, x.spd(x.n), x.gradient(x.m, x.n, dtype=torch.bfloat16)),
        {"beta": 0.0},
        bad=2,
        gradient=1,
    ),
    Case("update_mode_factors_", "update_mode_factors_", _modes, {"beta": 0.9}, bad=1, gradient=2),
    Case(
        "kron_power_step",
        "kron_power_step",
        lambda x: (x.gradient(5, x.m, x.n, k=2), x.spd(x.m), x.spd(x.n, 1)),
        gradient=0,
    ),
    Case("inverse_root-eigh", "inverse_root", lambda x: (x.spd(x.m),), {"p": 2, "method": "eigh"}),
    Case("inverse_root-polynomial", "inverse_root", lambda x: (x.spd(x.m),), {"p": 4, "method": "polynomial"}),
    Case(
        "inverse_root-auto-fallback",
        "inverse_root",
        lambda x: (x.spd(x.m),),
        {"p": Fraction(4, 3), "relative_damping": 1e-6},
        lambda x: {"fallback": x.spd(x.m, 9)},
    ),
    Case("off_diagonal_ratio", "off_diagonal_ratio", _basis),
    Case("update_eigenbasis", "update_eigenbasis", _basis),
    Case("update_eigenbasis-tol", "update_eigenbasis", _basis, {"tol": 1e-3, "max_steps": 3}),
    Case("update_eigenbasis-qr", "update_eigenbasis", _basis, {"method": "qr", "max_steps": 2}),
    Case("update_eigenbasis-rotation", "update_eigenbasis", _basis, {"method": "rotation"}),
    Case("update_eigenbasis-eigh", "update_eigenbasis", _basis, {"method": "eigh"}),
    Case("eigh", "eigh", lambda x: (x.spd(x.m),)),
    Case("orthonormalize", "orthonormalize", lambda x: (x.gradient(max(x.m, x.n), min(x.m, x.n)),)),
    Case("rearrange", "rearrange", _covariance),
    Case(
        "unrearrange",
        "unrearrange",
        lambda x: (x.gradient(min(x.m, 8) ** 2, min(x.n, 8) ** 2), min(x.m, 8), min(x.n, 8)),
    ),
    Case("rearranged_matvec", "rearranged_matvec", lambda x: (_covariance(x)[0], x.gradient(*2 * (min(x.n, 8),)))),
    Case("rearranged_rmatvec", "rearranged_rmatvec", lambda x: (_covariance(x)[0], x.gradient(*2 * (min(x.m, 8),)))),
    Case("nearest_kronecker", "nearest_kronecker", _covariance),
    Case(
        "nearest_kronecker-start",
        "nearest_kronecker",
        _covariance,
        {"steps": 2},
        lambda x: {"start": (x.spd(min(x.m, 8), 1), x.spd(min(x.n, 8), 2))},
    ),
    Case(
        "nearest_kronecker_from_gradients",
        "nearest_kronecker_from_gradients",
        lambda x: (x.gradient(7, x.m, x.n),),
        {"steps": 3},
        gradient=0,
    ),
    Case(
        "kron_apply",
        "kron_apply",
        lambda x: (x.gradient(3, x.m, k=1), x.gradient(x.m, x.n), x.gradient(x.n, 2, k=2)),
        gradient=1,
    ),
    Case(
        "mode_apply",
        "mode_apply",
        lambda x: ([x.gradient(2, x.m, k=1), None, x.spd(3)], x.gradient(x.m, x.n, 3)),
        bad=1,
        gradient=2,
    ),
]

FOREACH = {
    "update_factors_",
    "update_mode_factors_",
    "inverse_root",
    "update_eigenbasis",
    "eigh",
    "kron_apply",
    "mode_apply",
}

FOREACH_CASES = [case for case in CASES if case.name in FOREACH]


def foreach(case: Case, calls: list[Call]) -> Call:
    """One ``foreach_*`` call that does what the calls of the single op do."""
    lists = tuple(list(column) for column in zip(*(call.args for call in calls), strict=True))
    options = dict(calls[0].kwargs)
    for key, plural in (("weights", "weights"), ("fallback", "fallbacks")):
        if key in options:
            del options[key]
            options[plural] = [call.kwargs[key] for call in calls]
    return Call(f"foreach_{case.name}", lists, options)
