"""One parametrised test serves all devices: a missing one is a visible skip."""

import os
from collections.abc import Iterator

# Read when torch loads OpenMP: idle threads sleep. Spinning, they made the tests 7 times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", "cuda", "emulated"])
def device(request, monkeypatch) -> Iterator[torch.device]:
    """Where a test runs; "emulated": CPU tensors, on the CUDA kernels run by the host emulator."""
    if request.param == "emulated":
        _emulate(request, monkeypatch)
        yield torch.device("cpu")
        return
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch sees no CUDA device")
        without = _families_without_cuda(request.module.__name__.removeprefix("test_"))
        if without:
            pytest.skip(f"no CUDA kernels for {', '.join(without)} in this build")
    yield torch.device(request.param)
    if request.param == "cuda":
        torch.cuda.synchronize()  # an error in a kernel belongs to the test that launched it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A method that CUDA does not have, as kronla says itself, is a visible skip there."""
    try:
        return (yield)
    except NotImplementedError as error:
        if _device_of(item) == "cuda" and "CUDA" in str(error):
            pytest.skip(str(error))
        raise


def _device_of(item) -> str | None:
    return getattr(item, "callspec", None) and item.callspec.params.get("device")


def _emulate(request, monkeypatch) -> None:
    """Puts the emulated kernels under all families that have some; skips a test of another one."""
    from emulated import ops

    import kronla

    module, case = request.module.__name__.removeprefix("test_"), request.node.callspec.params.get("case")
    family = ops.FAMILY_OF.get(module, module)
    if case is not None:  # of tests/ops/cases.py: of any family
        family = getattr(kronla, case.name).__module__.rpartition(".")[2]
    families = ops.families()
    if family not in families:
        pytest.skip(f"no emulated kernels for {family}")
    if ops.native() is None:
        pytest.skip("the emulated kernels are not built: run `make emulated`")
    for name, replacement in families.items():
        monkeypatch.setattr(f"kronla.ops.{name}._ops", replacement)


#: By module of tests: an op that has CUDA kernels where its family has. Other modules test all families.
CUDA_OPS = {
    "factors": "update_factors_",
    "inverse_root": "inverse_root",
    "eigenbasis": "update_eigenbasis",
    "eigh": "eigh",
    "rearrangement": "rearrange",
    "apply": "kron_apply",
}


def _families_without_cuda(module: str) -> list[str]:
    import kronla  # noqa: F401  (registers the ops)

    families = [module] if module in CUDA_OPS else list(CUDA_OPS)
    return [
        family
        for family in families
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"kronla::{CUDA_OPS[family]}", "CUDA")
    ]


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request) -> torch.dtype:
    """The accumulator dtypes."""
    return request.param


GRADIENT_DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=GRADIENT_DTYPES, ids=lambda x: str(x).removeprefix("torch."))
def gradient_dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture
def threads():
    """Sets torch's thread count, for the test only."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
