"""How far the bases of a running optimizer lag behind its factors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

import kronla


@dataclass(frozen=True, order=True)
class FactorName:
    """One factor of one block of one parameter."""

    parameter: str
    block: int
    mode: int
    """0: rows (L), 1: columns (R)."""


def off_diagonal_ratios(
    optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, Tensor]]
) -> dict[FactorName, float]:
    r"""``‖offdiag(QᵀAQ)‖_F / ‖A‖_F`` of each factor A that an optimizer keeps, in the basis Q that it keeps.

    The criterion of Eschenhagen et al. 2025 (Purifying Shampoo, section 4): by this much the optimizer's
    ``Q diag(QᵀAQ) Qᵀ`` misses A.

    Args:
        optimizer: a :class:`kronla.optim.EShampoo` or :class:`kronla.optim.SOAP` after its first step: of their
            states ``factor.b.i`` and ``basis.b.i`` are read.
        named_parameters: of the model, for the names.

    Returns:
        A ratio for each factor; empty where the optimizer keeps no bases (use :class:`BasisTrace`).
    """
    names, factors, bases = [], [], []
    for parameter, p in named_parameters:
        state = optimizer.state.get(p, {})
        for name, factor in _factors(parameter, state):
            basis = state.get(f"basis.{name.block}.{name.mode}")
            if basis is not None:
                names.append(name)
                factors.append(factor)
                bases.append(basis)
    return _ratios(names, factors, bases)


@dataclass
class BasisTrace:
    """Bases of an observer's own, for optimizers that keep none: how quickly a basis of ``every`` steps' age is stale.

    :meth:`observe` after each step gives the ratio of each factor in the basis of its last refresh, and then, every
    ``every`` calls, refreshes the bases (:func:`kronla.foreach_eigh`).

    Raises:
        ValueError: ``every`` less than 1.
    """

    every: int
    bases: dict[FactorName, Tensor] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be a whole number ≥ 1, but is {self.every}.")

    def observe(self, factors: Mapping[FactorName, Tensor]) -> dict[FactorName, float]:
        """The ratios before this call's refresh; empty at the first call, which makes the bases."""
        known = [name for name in factors if name in self.bases]
        found = _ratios(known, [factors[name] for name in known], [self.bases[name] for name in known])
        if self.calls % self.every == 0:
            made = kronla.foreach_eigh(list(factors.values()))
            self.bases = {name: basis.Q for name, basis in zip(factors, made, strict=True)}
        self.calls += 1
        return found


def factors_of(
    optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, Tensor]]
) -> dict[FactorName, Tensor]:
    """The factors that a :mod:`kronla.optim` optimizer keeps, by name (states ``factor.b.i``)."""
    return {
        name: factor
        for parameter, p in named_parameters
        for name, factor in _factors(parameter, optimizer.state.get(p, {}))
    }


def _factors(parameter: str, state: Mapping[str, Tensor]) -> list[tuple[FactorName, Tensor]]:
    found = []
    for key, value in state.items():
        kind, _, place = key.partition(".")
        if kind == "factor":
            block, mode = place.split(".")
            found.append((FactorName(parameter, int(block), int(mode)), value))
    return found


def _ratios(names: list[FactorName], factors: list[Tensor], bases: list[Tensor]) -> dict[FactorName, float]:
    # No steps: foreach_update_eigenbasis then only evaluates, all factors in one call.
    found = kronla.foreach_update_eigenbasis(factors, bases, max_steps=0)
    return {name: basis.ratio.item() for name, basis in zip(names, found, strict=True)}
