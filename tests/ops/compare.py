"""How close two results must be: to the bit, or relative to what the precision allows."""

import torch
from torch import Tensor

#: The unit roundoff u: the largest relative error of rounding once.
UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def tolerance(n: int, dtype: torch.dtype) -> float:
    """8·n·u, for sums of n terms."""
    return 8 * max(n, 1) * UNIT[dtype]


def relative_errors(actual: Tensor, expected: Tensor) -> Tensor:
    """Frobenius errors of matrices [..., m, n] relative to the expected, by batch; 0/0 is 0."""
    expected = expected.to(actual.device, torch.float64)
    size = expected.flatten(-2).norm(dim=-1)
    error = (actual.double() - expected).flatten(-2).norm(dim=-1)
    return torch.where(error == 0, 0.0, error / size)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Every matrix within a relative Frobenius tolerance."""
    assert actual.shape == expected.shape
    errors = relative_errors(actual, expected)
    assert (errors <= tolerance).all(), f"relative errors up to {errors.max().item():.2e}, allowed {tolerance:.2e}"


def assert_figures_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Every number, such as a ratio, within an absolute tolerance."""
    assert actual.shape == expected.shape
    errors = (actual.double() - expected.to(actual.device, torch.float64)).abs()
    assert (errors <= tolerance).all(), f"errors up to {errors.max().item():.2e}, allowed {tolerance:.2e}"


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit, NaN included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    kind = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}[a.element_size()]
    return torch.equal(a.detach().contiguous().view(kind), b.detach().contiguous().view(kind))


def assert_same_bits(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert len(actual) == len(expected)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert same_bits(a, b), f"output {i} differs by up to {(a.double() - b.double()).abs().max().item():.2e}"


def is_symmetric(A: Tensor) -> bool:
    """To the bit."""
    return same_bits(A, A.mT)


def orthogonality(Q: Tensor) -> float:
    """The largest ‖QᵀQ - I‖_F / √n of a batch [..., m, n]."""
    Q = Q.double()
    n = Q.shape[-1]
    error = Q.mT @ Q - torch.eye(n, dtype=torch.float64, device=Q.device)
    return (error.flatten(-2).norm(dim=-1) / max(n, 1) ** 0.5).max().item()
