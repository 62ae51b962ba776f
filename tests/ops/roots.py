"""What tests of inverse roots have in common."""

import torch

from kronla.testing import matrices

METHODS = ["auto", "eigh", "polynomial"]  # "auto" on a CPU: quadratures


def spectra(n, condition, dtype=torch.float32, device="cpu"):
    """One matrix of each spectrum: [9, n, n]."""
    kinds = matrices.SPECTRA
    return torch.stack([matrices.symmetric(k, n, condition, (), dtype, i) for i, k in enumerate(kinds)]).to(device)
