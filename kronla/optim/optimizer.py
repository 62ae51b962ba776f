"""torch.optim's manners, for every optimizer here: parameter groups, state, ``step()``, saving and loading."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from kronla.optim.factors import start_factor
from kronla.optim.health import (
    Alarm,
    FactorDiagnostics,
    ParameterMemory,
    diagnose,
    memory_of,
    record_gradients_,
    start_health,
    worst_count,
)
from kronla.optim.settings import check_settings, make_plain_
from kronla.optim.tensors import Block, Side, assemble, view_of

StateDict = dict[str, Any]


class KroneckerOptimizer(Optimizer):
    """The part that does not depend on how factors precondition.

    A subclass names what a factor keeps beside it (:meth:`start_side`) and turns blocks that hold this step's
    gradients into a change of the parameters (:meth:`advance`).

    A gradient that is not finite, or whose squares overflow, counts as zero for its parameter in this step: its
    factors decay and stay finite, and the last good preconditioner remains. That is decided on the device, and
    counted there; :meth:`diagnostics` reads the counts. After ``max_failures`` such gradients, or failed refreshes of
    a factor, in a row, ``step()`` raises RuntimeError after it has updated everything. On a GPU it does so as soon as
    it hears of them without waiting, a step or two later.
    """

    takes_diagonals = False
    beside: str  # what the state keeps beside each factor: "root" or "basis"

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._arriving: StateDict | None = None
        self._alarm = Alarm()
        super().__init__(params, defaults)

    def start_side(self, side: Side, kind: str, size: int, **like: Any) -> None:
        """Add to the state what one new factor keeps beside it."""
        raise NotImplementedError

    def advance(self, blocks: list[Block]) -> None:
        """Update states and parameters from the gradients of these blocks, all of one device and one dtype."""
        raise NotImplementedError

    # A compiled training step leaves it out: torch.compile would trace it anew at each step count.
    @torch._disable_dynamo
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure``, where given, is called with gradients enabled and its loss returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        worst = []
        for blocks in self._calls():
            self.advance(blocks)
            worst.append(worst_count(blocks))
        self._alarm.post(worst)
        if self._alarm.heard() >= min(group["max_failures"] for group in self.param_groups):
            self._raise_failures()
        return loss

    def diagnostics(self) -> list[FactorDiagnostics]:
        """How each factor fares, one row each; reads the counts from the device, and waits for it.

        After them comes a row for each parameter without factors, with mode −1 and size 0.
        """
        return diagnose([(name, block) for name, _, blocks in self._kept() for block in blocks])

    def memory(self) -> list[ParameterMemory]:
        """Bytes of state by kind, one row for each parameter that has any."""
        return [memory_of(name, p, self.state[p]) for name, p, _ in self._kept()]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not say comes from the optimizer's defaults.

        A parameter that is in another group raises ValueError, and so does one that is in this group twice.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            check_settings(group, self.takes_diagonals)
            if len(set(group["params"])) < len(group["params"]):
                raise ValueError("params must name each parameter once, but a group holds one of them twice.")
            for p in group["params"]:
                if p.is_complex():
                    raise NotImplementedError(
                        f"{type(self).__name__} takes real parameters, but one is {p.dtype}: "
                        "give torch.view_as_real of it."
                    )
        except (TypeError, ValueError, NotImplementedError):
            self.param_groups.pop()
            raise

    def state_dict(self) -> StateDict:
        """As torch's; what was set in a group since then in NumPy's numbers is saved in Python's."""
        for group in self.param_groups:
            make_plain_(group)
        return super().state_dict()

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what :meth:`state_dict` returned; training continues to the bit.

        State keeps its own precision: float32 beside bfloat16 parameters, where torch would cast it to theirs.
        """

        def remember(_: Optimizer, arriving: StateDict) -> None:
            self._check_arriving(arriving)
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
        self._alarm = Alarm()
        arriving = self.__dict__.setdefault("_arriving", None)
        if arriving is not None:
            names = [name for group in arriving["param_groups"] for name in group["params"]]
            params = [p for group in self.param_groups for p in group["params"]]
            for name, p in zip(names, params, strict=True):
                if name in arriving["state"]:
                    self.state[p] = {key: _placed(value, p) for key, value in arriving["state"][name].items()}

    def _check_arriving(self, arriving: StateDict) -> None:
        """Refuse the state of another optimizer, or of other parameters, before anything is replaced."""
        cls = type(self).__name__
        for saved in arriving["param_groups"]:
            if not set(self.defaults) <= set(saved):
                missing = ", ".join(sorted(set(self.defaults) - set(saved)))
                raise ValueError(f"{cls} cannot load the state of another optimizer: its groups have no {missing}.")
        names = [name for group in arriving["param_groups"] for name in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for name, p in zip(names, params, strict=False):  # torch itself refuses another number of them
            state = arriving["state"].get(name, {})
            shape = tuple(state["momentum"].shape) if "momentum" in state else tuple(p.shape)
            if shape != tuple(p.shape):
                raise ValueError(
                    f"{cls} cannot load the state of a parameter of shape {shape} for one of {tuple(p.shape)}."
                )
            factors = [key for key in state if key.startswith("factor.")]
            if any(key.replace("factor", self.beside) not in state for key in factors):
                raise ValueError(
                    f"{cls} cannot load the state of another optimizer: it has no {self.beside} for each factor."
                )

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
            for group, p in members:
                if not self.state[p]:
                    self._start(group, p)
                self.state[p]["step"] += 1
            grads = self._gradients(members)
            yield [
                block for (group, p), grad in zip(members, grads, strict=True) for block in self._cut(group, p, grad)
            ]

    def _gradients(self, members: Sequence[tuple[dict[str, Any], Tensor]]) -> list[Tensor]:
        """The gradients in the state's dtype, with the sign that descends, and zero where they are not finite."""
        grads = [p.grad.to(state_dtype(p)) for _, p in members if p.grad is not None]
        # A factor holds squares of the gradient, so these must be finite too, with room for the rounding of their sum.
        good = list(torch.stack(torch._foreach_norm(grads)).square().mul(2).isfinite().unbind())
        record_gradients_([self.state[p] for _, p in members], good)
        signed = [-grad if group["maximize"] else grad for (group, _), grad in zip(members, grads, strict=True)]
        return [torch.where(one, grad, 0.0) for one, grad in zip(good, signed, strict=True)]

    def _start(self, group: dict[str, Any], p: Tensor) -> None:
        """The state of one parameter, which begins at the first gradient, as torch.optim's does."""
        like = {"dtype": state_dtype(p), "device": p.device}
        state = self.state[p]
        state["step"] = 0
        state["bad_gradients"] = torch.zeros((), **like)
        state["momentum"] = torch.zeros(p.shape, **like)
        state["second_moment"] = torch.zeros(p.shape, **like)
        view = view_of(p, group)
        for side in (side for block in view.blocks(p, group, state, p) for side in block.sides):
            kind, cut = view.kinds[side.mode], side.block.region[side.mode]
            side["factor"] = start_factor(kind, cut.stop - cut.start, **like)
            side["health"] = start_health(**like)
            self.start_side(side, kind, cut.stop - cut.start, **like)

    def _cut(self, group: dict[str, Any], p: Tensor, grad: Tensor) -> list[Block]:
        """One parameter's blocks, each with its part of the gradient."""
        blocks = view_of(p, group).blocks(p, group, self.state[p], grad)
        _check_cuts(blocks)
        return blocks

    def _kept(self) -> Iterator[tuple[str, Tensor, list[Block]]]:
        """Each parameter that has state, its name and its blocks, whose gradients hold nothing."""
        for g, group in enumerate(self.param_groups):
            names = group.get("param_names") or [f"group {g}, parameter {i}" for i in range(len(group["params"]))]
            for name, p in zip(names, group["params"], strict=True):
                if self.state.get(p):
                    yield name, p, self._cut(group, p, p.new_zeros(()).expand(p.shape))

    def _raise_failures(self) -> None:
        for name, p, blocks in self._kept():
            most, which = blocks[0].group["max_failures"], f"{name}, of shape {tuple(p.shape)}"
            if float(self.state[p]["bad_gradients"]) >= most:
                raise RuntimeError(
                    f"The last {most} gradients of {which}, were not finite or their squares overflow; they counted as "
                    "zero. Lower the learning rate, scale the loss, or raise max_failures."
                )
            for row in diagnose([(name, block) for block in blocks]):
                if row.failures >= most:
                    raise RuntimeError(
                        f"The factor of mode {row.mode} in block {row.block} of {which}, has failed {most} times in a "
                        f"row, with info {row.info} (2: not positive definite, 3: not finite, or a sum that is full); "
                        "its last good preconditioner remains. With info 2 raise relative_damping, where there is one; "
                        "with info 3 delete the state of the parameter, so that it begins anew; or raise max_failures."
                    )


def state_dtype(p: Tensor) -> torch.dtype:
    """float64 beside float64 parameters, else float32."""
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def descend_(blocks: Sequence[Block], directions: Sequence[Tensor]) -> None:
    """``W ← (1 − ηλ)W − ηP``: the step with decoupled weight decay (Loshchilov and Hutter 2019, Algorithm 2)."""
    updates = assemble(blocks, directions)
    if not updates:
        return
    groups = {block.param: block.group for block in blocks}
    by_rate: dict[tuple[float, float], list[Tensor]] = {}
    for p in updates:
        rate = float(groups[p]["lr"])
        by_rate.setdefault((rate, 1.0 - rate * float(groups[p]["weight_decay"])), []).append(p)
    for (rate, decay), params in by_rate.items():
        if decay != 1.0:
            torch._foreach_mul_(params, decay)
        torch._foreach_add_(params, [updates[p] for p in params], alpha=-rate)


def is_due(block: Block) -> bool:
    """Whether roots or bases are refreshed: in the ``early_steps`` first steps, and every ``update_every`` steps."""
    return block.step <= block.group["early_steps"] or (block.step - 1) % block.group["update_every"] == 0


def _refuse_gradient(name: str, grad: Tensor) -> None:
    if grad.layout != torch.strided:
        raise NotImplementedError(f"{name} takes dense gradients, but one has layout {grad.layout}.")


def _check_cuts(blocks: Sequence[Block]) -> None:
    """Refuse to go on where a parameter is seen otherwise than when its state began."""
    expected = {
        f"factor.{block.index}.{side.mode}": block.grad.shape[side.mode] for block in blocks for side in block.sides
    }
    kept = {key: len(value) for key, value in blocks[0].state.items() if key.startswith("factor.")}
    if kept != expected:
        raise ValueError(
            "max_dim, merge_dims, large and vectors cannot change once a parameter has state: "
            f"its factors have the sizes {list(kept.values())}, not {list(expected.values())}."
        )


def _placed(value: Any, p: Tensor) -> Any:
    """A saved value for this parameter: on its device, floating point in its state's dtype, and a copy."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    dtype = state_dtype(p) if value.is_floating_point() else value.dtype
    return value.detach().to(device=p.device, dtype=dtype, copy=True)
