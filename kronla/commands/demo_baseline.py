"""The demo's baseline: the algorithm of :class:`kronla.optim.SOAP` on plain torch, one matrix at a time."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

Measure = Callable[[str], AbstractContextManager[None]]


class TorchSOAP(torch.optim.Optimizer):
    """SOAP as a careful user of torch would write it for matrices and vectors: products in place, warm QR, no copies.

    It takes the same steps as :class:`kronla.optim.SOAP` up to rounding. ``measure(family)`` is a context in which
    each family's work is done, for the demo to time it.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        update_every: int = 10,
        measure: Measure,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "update_every": update_every}
        super().__init__(params, settings)
        self.measure = measure

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        """One step, one parameter after the other."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(group, p, p.grad, self.state[p])

    def _step(self, group: dict, p: Tensor, G: Tensor, state: dict) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, M=torch.zeros_like(p), V=torch.zeros_like(p))
            if p.dim() == 2:
                state.update(L=p.new_zeros(len(p), len(p)), R=p.new_zeros(p.shape[1], p.shape[1]))
        else:
            state["step"] += 1
            state["M"].lerp_(G, 1 - beta1)
            rotated, M = self._into_basis(state, G), self._into_basis(state, state["M"])
            state["V"].mul_(beta2).addcmul_(rotated, rotated, value=1 - beta2)
            divisor = (state["V"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            direction = self._out_of_basis(state, M.div(1 - beta1 ** state["step"]).div_(divisor))
            p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
        if p.dim() == 2:
            self._precondition(state, G, beta2, state["step"] % group["update_every"] == 0)

    def _precondition(self, state: dict, G: Tensor, beta: float, refresh: bool) -> None:
        with self.measure("factors"):
            state["L"].mul_(beta).addmm_(G, G.mT, alpha=1 - beta)
            state["R"].mul_(beta).addmm_(G.mT, G, alpha=1 - beta)
        if refresh:
            with self.measure("eigenbasis"):
                for A, Q in ((state["L"], "QL"), (state["R"], "QR")):
                    state[Q] = warm_qr(A, state[Q]) if Q in state else torch.linalg.eigh(A)[1]

    def _into_basis(self, state: dict, X: Tensor) -> Tensor:
        if "QL" not in state:
            return X.clone()
        with self.measure("apply"):
            return state["QL"].mT @ X @ state["QR"]

    def _out_of_basis(self, state: dict, X: Tensor) -> Tensor:
        if "QL" not in state:
            return X
        with self.measure("apply"):
            return state["QL"] @ X @ state["QR"].mT


def warm_qr(A: Tensor, Q: Tensor) -> Tensor:
    """One QR step from the basis Q, in descending order inside; columns keep their order and signs."""
    S = A @ Q
    order = (Q * S).sum(-2).argsort(descending=True, stable=True)
    found = torch.empty_like(Q)
    found[:, order] = torch.linalg.qr(S[:, order])[0]
    return found.mul_(torch.where((found * Q).sum(-2) < 0, -1.0, 1.0))
