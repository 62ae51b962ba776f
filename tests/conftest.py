"""One parametrised test serves all devices: a missing one is a visible skip."""

import os

# Read when torch loads OpenMP: idle threads sleep. Spinning, they made the tests 7 times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", "cuda"])
def device(request) -> torch.device:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch sees no CUDA device")
        if not _kronla_runs_on("cuda"):
            pytest.skip("kronla was built without CUDA")
    return torch.device(request.param)


def _kronla_runs_on(device: str) -> bool:
    import kronla

    try:
        kronla.kron_apply(*torch.ones(3, 1, 1, device=device))
    except NotImplementedError:
        return False
    return True


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
