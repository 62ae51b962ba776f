"""``python -m bench.readme``: the table of README.md, from bench/results/cpu.json, between two marker comments."""

import json
from pathlib import Path

from bench import memory

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "results" / "cpu.json"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def update(readme: Path = README, results: Path = RESULTS) -> None:
    """Writes the section into the README."""
    text = readme.read_text(encoding="utf-8")
    readme.write_text(replaced(text, section(load(results))), encoding="utf-8")


def load(results: Path = RESULTS) -> dict | None:
    """The record of the last full run; None where there has been none."""
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else None


def replaced(text: str, new: str) -> str:
    """The text with what stands between the markers exchanged."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def section(record: dict | None) -> str:
    """Markdown: a row for each group, and what it was measured on."""
    if record is None:
        return "No run of `make bench` has been put on record yet."
    rows = [
        "| operation | against | ratio, geometric mean | worst workload | target | of the machine |",
        "|---|---|---|---|---|---|",
        *(_row(group) for group in record["groups"]),
    ]
    return "\n".join([*rows, "", _conditions(record)])


def _row(group: dict) -> str:
    if group["mean"] is None:
        cells = ["–", "–", _target(group), "–"]
    else:
        worst = f"{group['worst']:.2f} ({group['worst_workload']})"
        cells = [f"**{group['mean']:.2f}**", worst, _target(group), f"{group['fraction']:.0%}"]
    if group["refused"]:
        cells[0] += f" ({group['refused']} refused)"
    return "| " + " | ".join([group["operation"], group["against"], *cells]) + " |"


def _target(group: dict) -> str:
    if group["target_mean"] is None:
        return "–"
    floor = "" if group["target_floor"] is None else f" / {group['target_floor']}"
    return f"{group['target_mean']}{floor} {'✓' if group['met'] else '✗'}"


def _conditions(record: dict) -> str:
    facts, peak = record["machine"], record["peak"]
    versions = facts["versions"]
    paragraph = (
        f"Torch's time over kronla's, on {facts['cpu']} with {facts['threads']} threads ({facts['instruction set']};"
        f" torch {versions['torch']}), {facts['date']},"
        f" commit {facts['commit']}. Targets: mean / no workload below. Of the machine: the least work of kronla's way"
        " (half a product where it is symmetric) at the measured rate of a float32 gemm,"
        f" {peak['flops'] / 1e9:.0f} GF/s (torch's own: {peak['measured']['torch gemm GF/s']:.0f}), or for the"
        f" rearrangement of memory, {peak['bytes'] / 1e9:.0f} GB/s, over its time; the median of the workloads."
    )
    if record["refused"]:
        paragraph += f" Rows refused because the sides are not equally accurate: {len(record['refused'])}."
    if record.get("memory"):
        paragraph += f" {memory.sentence(record['memory'])}"
    warnings = [f"**Warning**: {warning}." for warning in record["warnings"]]
    return "\n\n".join([paragraph, *warnings, "![Rates by family and size](bench/results/cpu.png)"])


if __name__ == "__main__":
    update()
