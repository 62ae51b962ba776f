"""Shampoo and SOAP beside those of another package, where it is there (``pip install --no-deps pytorch_optimizer``)."""

import pytest
import torch

from kronla.optim import SOAP, Shampoo

peers = pytest.importorskip("pytorch_optimizer")


def trained(make, shapes, steps):
    """The parameters after steps along the same gradients, in float64."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s, dtype=torch.float64, generator=generator)) for s in shapes]
    starts, optimizer = [p.detach().clone() for p in params], make(params)
    for _ in range(steps):
        for p in params:
            p.grad = p.detach() + torch.randn(p.shape, dtype=torch.float64, generator=generator)
        optimizer.step()
    assert all((p - start).abs().max() > 0.1 for p, start in zip(params, starts, strict=True))
    return params


def test_shampoo_takes_the_peers_steps():
    """Sums, no grafting, no momentum, roots in each step, a factor for vectors too."""
    own = {"betas": (0.0, 0.9), "factor_beta": 1.0, "damping": 1e-4, "grafting": None, "update_every": 1}
    shapes = [(7, 5), (6, 4, 3), (9,)]
    ours = trained(lambda ps: Shampoo(ps, lr=0.1, merge_dims=False, vectors="full", **own), shapes, 10)
    theirs = trained(lambda ps: peers.Shampoo(ps, lr=0.1, matrix_eps=1e-4), shapes, 10)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-8)


def test_soap_takes_the_peers_steps():
    """The first factors have full rank: in a null space each has a basis of its own. The peer's QR is in float32."""
    shapes = [(6, 6), (9, 9), (5,)]
    own = {"lr": 0.02, "eps": 1e-12, "weight_decay": 0.0}
    ours = trained(lambda ps: SOAP(ps, update_every=5, **own), shapes, 23)
    theirs = trained(lambda ps: peers.SOAP(ps, precondition_frequency=5, **own), shapes, 23)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
