"""setup.py: what KRONLA_CUDA decides, and that whatever is missing is told in one sentence."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="not in a checkout")


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("kronla_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_setup(*arguments: str, blocked: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs setup.py in a process in which one module cannot be imported."""
    program = "\n".join(
        [
            "import runpy, setuptools, sys",
            f"sys.modules.update({{name: None for name in {blocked.split()!r}}})",
            f"sys.argv = {['setup.py', *arguments]!r}",
            "runpy.run_path('setup.py', run_name='__main__')",
        ]
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def sentence_of(result: subprocess.CompletedProcess[str]) -> str:
    """What it said at the end; a traceback or a second line is a failure."""
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if "Warning" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("kronla: ")
    return lines[0]


@pytest.mark.parametrize("value", ["auto", "0", "1"])
def test_cuda_setting_is_taken(setup, monkeypatch, value):
    monkeypatch.setenv("KRONLA_CUDA", value)
    assert setup.cuda_setting() == value


def test_cuda_setting_is_auto_by_default(setup, monkeypatch):
    monkeypatch.delenv("KRONLA_CUDA", raising=False)
    assert setup.cuda_setting() == "auto"


@pytest.mark.parametrize("value", ["yes", "", "2", "AUTO"])
def test_any_other_setting_is_refused(setup, monkeypatch, value):
    monkeypatch.setenv("KRONLA_CUDA", value)
    with pytest.raises(SystemExit, match=r"KRONLA_CUDA is .* must be 'auto', '0' or '1'"):
        setup.cuda_setting()


@pytest.mark.parametrize(
    ("setting", "obstacle", "built", "said"),
    [
        ("auto", None, True, "KRONLA_CUDA=auto: torch, nvcc and the sources are here"),
        ("auto", "no nvcc", False, "KRONLA_CUDA=auto: no nvcc"),
        ("0", None, False, "KRONLA_CUDA=0"),
        ("0", "no nvcc", False, "KRONLA_CUDA=0"),
        ("1", None, True, "KRONLA_CUDA=1: torch, nvcc and the sources are here"),
    ],
)
def test_the_decision_and_its_reason(setup, setting, obstacle, built, said):
    assert setup.decide_cuda(setting, obstacle) == (built, said)


def test_cuda_demanded_and_not_to_be_had(setup):
    with pytest.raises(SystemExit, match=r"KRONLA_CUDA=1 asks for CUDA, but no nvcc\."):
        setup.decide_cuda("1", "no nvcc")


@pytest.mark.parametrize(
    ("sources", "torch_cuda", "release", "obstacle"),
    [
        ([], "13.0", "13.0", "no CUDA sources yet"),
        (["a.cu"], None, "13.0", "torch 9.9 was built without CUDA"),
        (["a.cu"], "13.0", None, "nvcc was not found"),
        (["a.cu"], "13.0", "12.8", "major versions must agree"),
        (["a.cu"], "13.0", "13.1", None),
    ],
)
def test_what_stands_in_the_way_of_cuda(setup, monkeypatch, sources, torch_cuda, release, obstacle):
    monkeypatch.setattr(setup, "find", lambda patterns: sources)
    monkeypatch.setattr(setup, "nvcc_release", lambda home: release)
    answer = setup.cuda_obstacle("9.9", torch_cuda, "/usr/local/cuda")
    assert answer is None if obstacle is None else obstacle in answer


def test_the_release_of_nvcc(setup, tmp_path):
    assert setup.nvcc_release(None) is None
    assert setup.nvcc_release(str(tmp_path)) is None
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.48'\n")
    nvcc.chmod(0o755)
    assert setup.nvcc_release(str(tmp_path)) == "13.0"


def test_an_old_torch_is_refused(setup):
    setup.require_torch_2_10("2.10.0+cpu")
    setup.require_torch_2_10("3.0")
    with pytest.raises(SystemExit, match=r"torch 2\.9\.1 is too old"):
        setup.require_torch_2_10("2.9.1")


def test_sources_are_found(setup):
    sources = setup.find(setup.CPU_SOURCES)
    assert "csrc/bindings/module.cpp" in sources
    assert "csrc/kernels/cpu/factors.cpp" in sources
    assert sources == sorted(set(sources))


@pytest.mark.parametrize(
    ("module", "package"),
    [("torch", "torch>=2.10"), ("pybind11", "pybind11")],
)
def test_a_missing_package_is_one_sentence(module, package):
    sentence = sentence_of(run_setup("build_ext", blocked=module))
    assert f"the build needs {package}" in sentence and "pip install" in sentence


def test_all_missing_packages_are_told_at_once():
    sentence = sentence_of(run_setup("build_ext", blocked="torch pybind11"))
    assert "pip install 'torch>=2.10' pybind11" in sentence


def test_a_missing_compiler_is_one_sentence():
    assert "no C++ compiler: 'no-such-compiler'" in sentence_of(run_setup("build_ext", CXX="no-such-compiler"))


def test_a_wrong_setting_is_one_sentence():
    assert "KRONLA_CUDA is 'maybe'" in sentence_of(run_setup("build_ext", KRONLA_CUDA="maybe"))


def test_cuda_demanded_without_nvcc_is_one_sentence():
    result = run_setup("build_ext", KRONLA_CUDA="1", CUDA_HOME="/nonexistent", PATH=_path_without_nvcc())
    assert "KRONLA_CUDA=1 asks for CUDA, but" in sentence_of(result)


def _path_without_nvcc() -> str:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not (Path(folder) / "nvcc").exists())


def test_the_source_commands_need_no_torch(tmp_path):
    result = run_setup("egg_info", "--egg-base", str(tmp_path), blocked="torch")
    assert result.returncode == 0, result.stderr
