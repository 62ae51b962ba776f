"""The rows of the table: what is compared with what, the ratio to reach, and what the measurements say about it."""

import math
import statistics
from dataclasses import dataclass

from bench.cases import Measurement, Refused


@dataclass(frozen=True)
class Group:
    """Target ratios: the geometric mean over the workloads, and no workload below; None where there is none."""

    name: str
    operation: str
    against: str
    mean: float | None = None
    floor: float | None = None


GROUPS = [
    Group("factors", "`foreach_update_factors_`", "best of looped `addmm_` pairs and `baddbmm_`", 2.0, 1.1),
    Group("factors bfloat16", "the same, bfloat16 gradients into float32", "`.float()` first, then that", 2.5, 1.2),
    Group("inverse_root / eigh", "`foreach_inverse_root`, p=4 and 2", "`torch.linalg.eigh`, scale, product", 2.0, 1.1),
    Group("inverse_root rtol=0.1 / eigh", "the same, `rtol=0.1`: float32 inside", "the same", 2.0, 1.1),
    Group(
        "inverse_root / float64 eigh",
        "`foreach_inverse_root`, p=4 and 2",
        "the same from a float64 `eigh`: errors 3e-7, kronla's 3e-8 and from n=129 on 1e-6",
    ),
    Group("inverse_root / Newton", "the same", "coupled Newton, batched by size (gpt2, vit-s16: p=4)", 4.0, 2.0),
    Group("inverse_root, one matrix", "the same, one matrix, n=512 and 1024", "a float32 `eigh` of all threads"),
    Group(
        "eigenbasis step",
        "`foreach_update_eigenbasis`, one step",
        "`A@Q`, `torch.linalg.qr`, Rayleigh quotients, ratio",
        4.0,
        1.5,
    ),
    Group("eigenbasis step / as good", "the same", "as many such steps as reach kronla's ratio", 4.0, 1.5),
    Group("eigenbasis step / SOAP", "the same", "sorted `A@Q`, `torch.linalg.qr`, no figures"),
    *(
        Group(
            f"eigenbasis to 0.01, β={beta}",
            f"`foreach_update_eigenbasis`, ratio ≤ 0.01, 10 steps old at β={beta}{'' if steps else ', no step needed'}",
            "`torch.linalg.eigh`",
            2.5,
            1.0,
        )
        for beta, steps in ((0.95, True), (0.99, False), (0.999, False))
    ),
    Group("eigenbasis to 0.01 / criterion", "all of these", "`eigh` only where the old basis is above 0.01"),
    Group("off_diagonal_ratio", "`off_diagonal_ratio`", "`Q.mT@A@Q`, diagonal zeroed, norms", 1.3, 1.0),
    Group("eigh", "`foreach_eigh`", "`torch.linalg.eigh`", 1.3, 0.9),
    Group("eigh, one matrix", "the same, one matrix, n=512 and 1024", "`eigh` of all threads"),
    Group("orthonormalize", "`orthonormalize`", "`torch.linalg.qr`", 4.0, 1.4),
    Group("rearranged_matvec", "`rearranged_matvec`", "best of `matmul` and `einsum` on views"),
    Group("nearest_kronecker", "`nearest_kronecker`, 5 steps", "rearranged once, matrix–vector products", 3.0, 1.5),
    Group("nearest from gradients", "`nearest_kronecker_from_gradients`", "batched products", 1.5, 1.0),
    Group("apply", "`foreach_kron_apply`", "looped `L@G@R`", 1.2, 1.0),
    Group("refresh", "factors and roots of `vit-s16`, a call each", "looped `addmm_` pairs and `eigh`", 2.5),
    Group("refresh rtol=0.1", "the same, roots with `rtol=0.1`", "the same", 2.5),
]


@dataclass(frozen=True)
class Summary:
    """A group's measurements in one line; `fraction` is the median share of the machine that kronla reached."""

    group: str
    operation: str
    against: str
    target_mean: float | None
    target_floor: float | None
    mean: float | None
    worst: float | None
    worst_workload: str | None
    fraction: float | None
    measured: int
    refused: int
    met: bool | None
    """None where there is no target. A refused row is not met."""


@dataclass(frozen=True)
class Peak:
    """What the machine was measured to do: float32 operations and bytes a second."""

    flops: float
    bytes: float

    def fraction(self, m: Measurement) -> float:
        return m.work / m.kronla_seconds / (self.flops if m.unit == "flop" else self.bytes)


def summarise(measurements: list[Measurement], refused: list[Refused], peak: Peak) -> list[Summary]:
    """One for each group that has a measurement or a refusal, in the table's order."""
    return [
        _summary(
            group,
            [m for m in measurements if m.group == group.name],
            sum(r.group == group.name for r in refused),
            peak,
        )
        for group in GROUPS
        if any(x.group == group.name for x in [*measurements, *refused])
    ]


def _summary(group: Group, members: list[Measurement], refused: int, peak: Peak) -> Summary:
    mean = math.exp(statistics.fmean(math.log(m.ratio) for m in members)) if members else None
    worst = min(members, key=lambda m: m.ratio, default=None)
    met = None
    if group.mean is not None:
        met = (
            refused == 0
            and mean is not None
            and worst is not None
            and mean >= group.mean
            and (group.floor is None or worst.ratio >= group.floor)
        )
    return Summary(
        group=group.name,
        operation=group.operation,
        against=group.against,
        target_mean=group.mean,
        target_floor=group.floor,
        mean=mean,
        worst=worst.ratio if worst else None,
        worst_workload=row_name(worst) if worst else None,
        fraction=statistics.median(peak.fraction(m) for m in members) if members else None,
        measured=len(members),
        refused=refused,
        met=met,
    )


def row_name(m: Measurement) -> str:
    """The workload, and what the family says beyond the group: uniform-16 p=4."""
    return " ".join([m.workload, *(word for word in m.family.split() if "=" in word and word not in m.group)])
