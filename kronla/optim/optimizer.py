"""torch.optim's manners, for every optimizer here: parameter groups, state, ``step()``, saving and loading."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from kronla.optim.factors import start_factors
from kronla.optim.settings import check_settings
from kronla.optim.tensors import Block, Region, assemble, matrix_shape, part_of, regions, shape_of

StateDict = dict[str, Any]


class KroneckerOptimizer(Optimizer):
    """The part that does not depend on how factors precondition.

    A subclass names what its blocks keep beside the factors (:meth:`start_block`) and turns blocks that hold this
    step's gradients into a change of the parameters (:meth:`advance`).

    A gradient that is not finite, or whose squares overflow, counts as zero for its parameter in this step: its
    factors decay and stay finite, and the last good preconditioner remains. That is decided on the device.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._arriving: StateDict | None = None
        super().__init__(params, defaults)

    def start_block(self, state: dict[str, Any], index: int, shape: tuple[int, int], **like: Any) -> None:
        """Add to the state what one new block keeps beside its factors."""
        raise NotImplementedError

    def advance(self, blocks: list[Block]) -> None:
        """Update states and parameters from the gradients of these blocks, all of one device and one dtype."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure``, where given, is called with gradients enabled and its loss returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for blocks in self._calls():
            self.advance(blocks)
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not say comes from the optimizer's defaults."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            check_settings(group)
            for p in group["params"]:
                if p.is_complex():
                    raise NotImplementedError(
                        f"{type(self).__name__} takes real parameters, but one is {p.dtype}: "
                        "give torch.view_as_real of it."
                    )
        except (TypeError, ValueError, NotImplementedError):
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what :meth:`state_dict` returned; training continues to the bit.

        State keeps its own precision: float32 beside bfloat16 parameters, where torch would cast it to theirs.
        """

        def remember(_: Optimizer, arriving: StateDict) -> None:
            self._arriving = arriving

        # The last hook before loading sees what will be loaded, whatever hooks of the user's did to it.
        handle = self.register_load_state_dict_pre_hook(remember)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
            self._arriving = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        arriving = self.__dict__.setdefault("_arriving", None)
        if arriving is not None:
            names = [name for group in arriving["param_groups"] for name in group["params"]]
            params = [p for group in self.param_groups for p in group["params"]]
            for name, p in zip(names, params, strict=True):
                if name in arriving["state"]:
                    self.state[p] = {key: _placed(value, p) for key, value in arriving["state"][name].items()}

    def _calls(self) -> Iterator[list[Block]]:
        """All blocks with a gradient, in lists that can share native calls: one device, one dtype.

        ``foreach=False`` gives each parameter of its group calls of its own; the results have the same bits.
        """
        found: dict[Any, list[tuple[dict[str, Any], Tensor]]] = {}
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.numel() > 0:
                    _refuse_gradient(type(self).__name__, p.grad)
                    key = (p.device, state_dtype(p), id(p) if group["foreach"] is False else None)
                    found.setdefault(key, []).append((group, p))
        for members in found.values():
            grads = _gradients(members)
            yield [
                block for (group, p), grad in zip(members, grads, strict=True) for block in self._cut(group, p, grad)
            ]

    def _cut(self, group: dict[str, Any], p: Tensor, grad: Tensor) -> list[Block]:
        """One parameter's blocks; their state starts at the first gradient, as torch.optim's does."""
        state = self.state[p]
        whole = matrix_shape(p.shape)
        cuts = [None] if whole is None else regions(whole, group["max_dim"])
        if not state:
            like = {"dtype": state_dtype(p), "device": p.device}
            state["step"] = 0
            state["momentum"] = torch.zeros(p.shape, **like)
            state["second_moment"] = torch.zeros(p.shape, **like)
            for i, cut in enumerate(cuts):
                if cut is not None:
                    shape = shape_of(cut)
                    start_factors(state, i, shape, **like)
                    self.start_block(state, i, shape, **like)
        _check_cuts(state, cuts)
        state["step"] += 1
        return [Block(p, group, state, i, whole, cut, part_of(grad, whole, cut)) for i, cut in enumerate(cuts)]


def state_dtype(p: Tensor) -> torch.dtype:
    """float64 beside float64 parameters, else float32."""
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def descend_(blocks: Sequence[Block], directions: Sequence[Tensor]) -> None:
    """``W ← (1 − ηλ)W − ηP``: the step with decoupled weight decay (Loshchilov and Hutter 2019, Algorithm 2)."""
    updates = assemble(blocks, directions)
    if not updates:
        return
    groups = {block.param: block.group for block in blocks}
    rates = [float(groups[p]["lr"]) for p in updates]
    decays = [1.0 - rate * float(groups[p]["weight_decay"]) for p, rate in zip(updates, rates, strict=True)]
    params, steps = list(updates), list(updates.values())
    if any(decay != 1.0 for decay in decays):
        torch._foreach_mul_(params, decays)
    torch._foreach_mul_(steps, [-rate for rate in rates])
    torch._foreach_add_(params, steps)


def is_due(block: Block) -> bool:
    """Whether a block's roots or bases are refreshed in this step: the first, and every ``update_every`` after it."""
    return (block.step - 1) % block.group["update_every"] == 0


def _gradients(members: Sequence[tuple[dict[str, Any], Tensor]]) -> list[Tensor]:
    """The gradients in the state's dtype, with the sign that descends, and zero where they are not finite."""
    grads = [p.grad.to(state_dtype(p)) for _, p in members if p.grad is not None]
    norms = torch._foreach_norm(grads)
    signed = [-grad if group["maximize"] else grad for (group, _), grad in zip(members, grads, strict=True)]
    # A factor holds squares of the gradient, so these must be finite too.
    return [torch.where(norm.square().isfinite(), grad, 0.0) for norm, grad in zip(norms, signed, strict=True)]


def _refuse_gradient(name: str, grad: Tensor) -> None:
    if grad.layout != torch.strided:
        raise NotImplementedError(f"{name} takes dense gradients, but one has layout {grad.layout}.")


def _check_cuts(state: dict[str, Any], cuts: Sequence[Region | None]) -> None:
    """Refuse to go on where ``max_dim`` has changed since the parameter's state began."""
    kept = sum(name.startswith("factor.") and name.endswith(".0") for name in state)
    if kept != sum(cut is not None for cut in cuts):
        raise ValueError(f"max_dim cannot change once a parameter has state: it has {kept} blocks, not {len(cuts)}.")


def _placed(value: Any, p: Tensor) -> Any:
    """A saved value for this parameter: on its device, floating point in its state's dtype, and a copy."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    dtype = state_dtype(p) if value.is_floating_point() else value.dtype
    return value.detach().to(device=p.device, dtype=dtype, copy=True)
