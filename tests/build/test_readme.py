"""The Python examples of the documents run, one after the other, and their assertions hold."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def examples(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("name", "count"), [("README.md", 6), ("docs/optimizers.md", 1)])
def test_the_examples_run(name, count):
    assert len(examples(name)) == count
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    for number, code in enumerate(examples(name)):
        exec(compile(code, f"{name}, example {number}", "exec"), namespace)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/optimizers.md"])
def test_links_and_paths_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:csrc|kronla|tests|bench)/[\w/.]*\.\w+)`", text)
    missing = [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert not missing
