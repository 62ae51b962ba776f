"""How each factor fares: counted on the device, read when somebody asks, and an alarm that waits for nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kronla.optim.tensors import Block, Side

# A factor's ``health``: one tensor of the state's dtype, in which counts are exact (float32: to 16 million).
INFO, ERROR, REFRESHES, REFRESHED_AT, FAILURES, OVERFLOWS = range(6)
# What is counted in a row, and alarms.
_IN_A_ROW = slice(FAILURES, OVERFLOWS + 1)


class FactorDiagnostics(NamedTuple):
    """One factor of one block of one parameter; or a parameter without factors, whose steps are elementwise."""

    parameter: str
    """Its name where the optimizer was given named parameters, else ``"group g, parameter i"``."""
    block: int
    mode: int
    """0 rows and 1 columns of a matrix; −1 for a parameter without factors."""
    size: int
    """Rows of the factor; 0 without."""
    steps_since_refresh: int
    """Since its root or basis last changed; without factors all steps."""
    ratio: float
    """Of the basis, when last looked at: ‖offdiag(QᵀAQ)‖_F/‖A‖_F; NaN for a root, and without factors."""
    residual: float
    """Of the root; NaN for a basis, and without factors."""
    info: int
    """Of the last refresh: 0 good, 1 not converged, 2 not positive definite, 3 not finite; 3 also while a factor that
    sums (β = 1) cannot take in the gradients, since it would leave the range of its dtype."""
    refreshes: int
    """How often the root or basis has changed."""
    failures: int
    """Refreshes that have failed (``info`` ≥ 2) in a row, or gradients that the factor could not take in."""
    bad_gradients: int
    """Gradients of the parameter, in a row, that were not finite or whose squares overflow."""


class ParameterMemory(NamedTuple):
    """The state of one parameter."""

    parameter: str
    elements: int
    bytes: dict[str, int]
    """By kind: ``momentum``, ``second_moment``, ``factor``, ``root`` or ``basis``, ``health``."""


def start_health(**like: Any) -> Tensor:
    """A factor that was never refreshed."""
    return torch.zeros(6, **like)


def record_refresh_(
    sides: Sequence[Side], infos: Sequence[Tensor], errors: Sequence[Tensor], moves: Sequence[Tensor] | None = None
) -> None:
    """Write down what a refresh gave for each side: ``info``, its ratio or residual, whether anything moved."""
    if not sides:
        return
    healths = [side["health"] for side in sides]
    old, info, error = torch.stack(healths), torch.stack(list(infos)), torch.stack(list(errors))
    failed = info >= 2
    moved = ~failed if moves is None else ~failed & (torch.stack(list(moves)) > 0)
    # Numbers of the host reach the device as arguments of a kernel: a copy of a list would wait for it.
    now = torch.stack(torch._foreach_add([error.new_zeros(())] * len(sides), [float(s.block.step) for s in sides]))
    new = [
        info.to(error.dtype),
        error,
        old[:, REFRESHES] + moved,
        torch.where(moved, now, old[:, REFRESHED_AT]),
        (old[:, FAILURES] + 1) * failed,
        old[:, OVERFLOWS],
    ]
    torch._foreach_copy_(healths, list(torch.stack(new, 1).unbind()))


def record_overflows_(sides: Sequence[Side], fits: Sequence[Tensor]) -> None:
    """Count gradients in a row that a factor could not take in."""
    counts = [side["health"][OVERFLOWS] for side in sides]
    new = (torch.stack(counts) + 1) * ~torch.stack(list(fits))
    torch._foreach_copy_(counts, list(new.unbind()))


def record_gradients_(states: Sequence[dict[str, Any]], good: Sequence[Tensor]) -> None:
    """Count bad gradients in a row, for each parameter."""
    counts = [state["bad_gradients"] for state in states]
    new = (torch.stack(counts) + 1) * ~torch.stack(list(good))
    torch._foreach_copy_(counts, list(new.unbind()))


def worst_count(blocks: Sequence[Block]) -> Tensor:
    """The most failures in a row among these blocks, all of one device and dtype."""
    worst = torch.cat([block.state["bad_gradients"].reshape(1) for block in blocks if block.index == 0]).max()
    healths = [side["health"] for block in blocks for side in block.sides]
    return torch.maximum(worst, torch.stack(healths)[:, _IN_A_ROW].max()) if healths else worst


class Alarm:
    """The most failures in a row, on their way to the host: nothing here waits for a device.

    On CPU they are there at once. A GPU writes into pinned memory when it comes to it, and :meth:`heard` tells what
    has arrived by then: a step or two later. A count that arrives while another is on its way is left out: counts in
    a row stay until the failures end.
    """

    def __init__(self) -> None:
        self._posted: dict[torch.device, tuple[Tensor, torch.cuda.Event | None]] = {}

    def post(self, worst: Sequence[Tensor]) -> None:
        """Send the worst of the counts of one step's calls (:func:`worst_count`), for each device."""
        by_device: dict[torch.device, list[Tensor]] = {}
        for count in worst:
            by_device.setdefault(count.device, []).append(count.double())
        self._posted = {device: sent for device, sent in self._posted.items() if device.type != "cpu"}
        for device, counts in by_device.items():
            most = torch.stack(counts).max()
            if device.type == "cpu":
                self._posted[device] = most, None
            elif self._arrived(device):
                host = torch.empty((), dtype=most.dtype, pin_memory=True)
                event = torch.cuda.Event()
                host.copy_(most, non_blocking=True)
                event.record(torch.cuda.current_stream(device))
                self._posted[device] = host, event

    def heard(self) -> float:
        """The worst count that has arrived."""
        arrived = [host for device, (host, _) in self._posted.items() if self._arrived(device)]
        return max((float(host.numpy()) for host in arrived), default=0.0)

    def _arrived(self, device: torch.device) -> bool:
        _, event = self._posted.get(device, (None, None))
        return event is None or event.query()


def diagnose(blocks: Sequence[tuple[str, Block]]) -> list[FactorDiagnostics]:
    """One row for each factor, then one for each parameter without; reads them from the device, and waits for it."""
    entries: list[tuple[str, Block, Side | None]] = [(name, b, side) for name, b in blocks for side in b.sides]
    entries += [(name, block, None) for name, block in blocks if not block.sides]
    bad = [block.state["bad_gradients"] for _, block, _ in entries]
    healths = [side["health"] if side else count.new_zeros(6) for (*_, side), count in zip(entries, bad, strict=True)]
    rows = zip(entries, _read(healths), _read(bad), strict=True)
    return [_row(name, block, side, health, count) for (name, block, side), health, count in rows]


def _row(
    name: str, block: Block, side: Side | None, health: Sequence[float], bad_gradients: float
) -> FactorDiagnostics:
    root = side is not None and f"root.{block.index}.{side.mode}" in block.state
    nan = float("nan")
    return FactorDiagnostics(
        name,
        block.index,
        -1 if side is None else side.mode,
        0 if side is None else len(side["factor"]),
        block.step - int(health[REFRESHED_AT]),
        nan if root or side is None else health[ERROR],
        health[ERROR] if root else nan,
        3 if health[OVERFLOWS] else int(health[INFO]),
        int(health[REFRESHES]),
        int(max(health[_IN_A_ROW])),
        int(bad_gradients),
    )


def _read(tensors: Sequence[Tensor]) -> list[Any]:
    """Their values: one copy for each device."""
    values: dict[int, Any] = {}
    for device in {tensor.device for tensor in tensors}:
        places = [i for i, tensor in enumerate(tensors) if tensor.device == device]
        found = torch.stack([tensors[i].double() for i in places]).tolist()
        values.update(zip(places, found, strict=True))
    return [values[i] for i in range(len(tensors))]


def memory_of(name: str, param: Tensor, state: dict[str, Any]) -> ParameterMemory:
    """Bytes of one parameter's state, by kind."""
    sizes: dict[str, int] = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            kind = key.split(".")[0]
            sizes[kind] = sizes.get(kind, 0) + value.nbytes
    return ParameterMemory(name, param.numel(), sizes)
