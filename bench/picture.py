"""bench/results/cpu.png: the rate of each side by family and workload, under a line at the machine's measured peak."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which colour-blind readers tell apart.
KRONLA = "#0072B2"
TORCH = ["#E69F00", "#999999", "#CC79A7"]
PEAK = "#D55E00"
COLUMNS = 4


def draw(record: dict, path: Path) -> None:
    """A panel for each family: the least work of kronla's way over the time of each side."""
    families: dict[str, list[dict]] = {}
    for m in record["measurements"]:
        families.setdefault(m["family"], []).append(m)
    rows = -(-len(families) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(5.2 * COLUMNS, 3.6 * rows), squeeze=False)
    for axis, (family, members) in zip(axes.flat, families.items(), strict=False):
        _panel(axis, family, members, record["peak"])
    for axis in list(axes.flat)[len(families) :]:
        axis.axis("off")
    facts = record["machine"]
    figure.suptitle(
        f"Rates of kronla and torch; dashed: the machine's measured peak\n{facts['cpu']}, {facts['threads']} threads,"
        f" {facts['instruction set']}, torch {facts['versions']['torch']}, {facts['date']}"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _panel(axis, family: str, members: list[dict], peak: dict) -> None:
    workloads = list(dict.fromkeys(m["workload"] for m in members))
    groups = list(dict.fromkeys(m["group"] for m in members))
    rates: dict[str, dict[str, float]] = {"kronla": {}, **{group: {} for group in groups}}
    for m in members:
        rates["kronla"][m["workload"]] = m["work"] / m["kronla_seconds"] / 1e9
        rates[m["group"]][m["workload"]] = m["work"] / m["torch_seconds"] / 1e9
    ways = {group: next(m["way"] for m in members if m["group"] == group) for group in groups}
    labels = {"kronla": "kronla", **({group: "torch" for group in groups} if len(groups) == 1 else ways)}
    width = 0.8 / len(rates)
    for index, (side, by_workload) in enumerate(rates.items()):
        places = [place + (index - (len(rates) - 1) / 2) * width for place in range(len(workloads))]
        heights = [by_workload.get(workload, 0.0) for workload in workloads]
        axis.bar(places, heights, width, color=[KRONLA, *TORCH][index], label=labels[side])
    flops = members[0]["unit"] == "flop"
    axis.axhline(peak["flops" if flops else "bytes"] / 1e9, color=PEAK, linestyle="--", linewidth=1.2)
    axis.set_title(family, fontweight="bold", loc="left", fontsize=11)
    axis.set_ylabel("GF/s of least work" if flops else "GB/s")
    axis.set_xticks(range(len(workloads)), workloads, rotation=40, ha="right", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#E5E5E5")
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=8)
