"""The Python examples of the README run, one after the other, and their assertions hold."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def examples() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_examples_run():
    assert len(examples()) == 6
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    for number, code in enumerate(examples()):
        exec(compile(code, f"README.md, example {number}", "exec"), namespace)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_and_paths_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:csrc|kronla|tests|bench)/[\w/.]*\.\w+)`", text)
    missing = [path for path in links + paths if not (ROOT / path).exists()]
    assert not missing
