"""matrices.py makes what it says: spectra, structure, determinism."""

import pytest
import torch

from kronla.testing import matrices

CONDITION = 1e4


@pytest.mark.parametrize("n", [1, 2, 3, 17, 32])
@pytest.mark.parametrize("kind", matrices.SPECTRA)
def test_spectrum_is_descending_from_one_to_its_condition(kind, n):
    values = matrices.spectrum(kind, n, CONDITION)
    assert values.shape == (n,) and values.dtype == torch.float64
    assert values[0] == 1
    assert (values.diff() <= 0).all()
    reaches = {"flat": 1.0, "decaying": min(CONDITION, n**2)}.get(kind, CONDITION if n > 1 else 1)
    assert values[0] / values[-1] == pytest.approx(reaches, rel=2e-3)


def test_spectra_have_their_shapes():
    def spectrum(kind):
        return matrices.spectrum(kind, 32, CONDITION)

    assert len(spectrum("clustered").unique()) == 8
    assert (spectrum("one-large") == 1).sum() == 1
    assert (spectrum("one-small") == 1).sum() == 31
    assert spectrum("gapped")[15] / spectrum("gapped")[16] > 1e3
    assert (spectrum("low-rank") > 0.1).sum() == 4
    pairs = spectrum("near-duplicate").view(-1, 2)
    assert torch.allclose(pairs[:-1, 1] / pairs[:-1, 0], torch.tensor(0.999, dtype=torch.float64))
    with pytest.raises(ValueError, match="kind"):
        spectrum("cubic")


@pytest.mark.parametrize("kind", matrices.SPECTRA)
def test_symmetric_has_its_spectrum(kind):
    A = matrices.symmetric(kind, 33, CONDITION, batch=(2, 3), dtype=torch.float64)
    assert A.shape == (2, 3, 33, 33)
    assert torch.equal(A, A.mT)
    found = torch.linalg.eigvalsh(A).flip(-1)
    assert (found - matrices.spectrum(kind, 33, CONDITION)).abs().max() < 1e-13


def test_the_seed_decides_and_the_dtype_only_rounds():
    A = matrices.symmetric("gapped", 8, dtype=torch.float64, seed=3)
    assert torch.equal(A, matrices.symmetric("gapped", 8, dtype=torch.float64, seed=3))
    assert torch.equal(A.float(), matrices.symmetric("gapped", 8, seed=3))
    assert not torch.equal(A, matrices.symmetric("gapped", 8, dtype=torch.float64, seed=4))


def test_orthogonal():
    Q = matrices.orthogonal(20, batch=(3,))
    assert (Q.mT @ Q - torch.eye(20)).abs().max() < 1e-14
    assert (Q[0] - Q[1]).abs().max() > 0.1


def test_structured():
    assert torch.equal(matrices.toeplitz(3, 0.5), torch.tensor([[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]]))
    values = torch.linalg.eigvalsh(matrices.equicorrelated(5, 0.25, dtype=torch.float64))
    assert torch.allclose(values, torch.tensor([0.75, 0.75, 0.75, 0.75, 2], dtype=torch.float64))
    values = torch.linalg.eigvalsh(matrices.rank_deficient(16, 5, dtype=torch.float64))
    assert (values.abs() < 1e-12).sum() == 11
    assert torch.linalg.eigvalsh(matrices.indefinite(9, -0.2, dtype=torch.float64))[0].item() == pytest.approx(-0.2)


def test_ema_drift_starts_from_an_eigenbasis_and_leaves_it():
    def ratio(steps):
        A, Q = matrices.ema_drift(12, 0.9, steps, dtype=torch.float64)
        B = Q.mT @ A @ Q
        assert (B.diagonal().diff() <= 1e-3).all()
        return ((B - B.diagonal().diag()).norm() / A.norm()).item()

    assert ratio(0) < 1e-14
    assert 1e-4 < ratio(1) < ratio(10) < 1


def test_gradients_decay():
    G = matrices.gradients(50, 8, 6, decay=1.0, dtype=torch.float64)
    values = torch.linalg.eigvalsh((G @ G.mT).mean(0)).flip(-1)
    assert values[0] > 5 * values[2]
    assert matrices.gradients(3, 0, 4, dtype=torch.bfloat16).shape == (3, 0, 4)
    assert matrices.gradients(7).shape == (7,)
