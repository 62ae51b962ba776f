"""How a parameter is seen: shapes worked out by hand, and blocks that behave as parameters of their own."""

import pytest
import torch

from kronla.optim import SOAP, EShampoo, OptimalKronecker, Shampoo, Shampoo2
from kronla.optim.tensors import mode_kinds, regions, seen_as

CLASSES = [Shampoo, Shampoo2, OptimalKronecker, EShampoo, SOAP]


@pytest.mark.parametrize(
    ("shape", "merged", "modes"),
    [
        ((), (1,), (1,)),
        ((7,), (7,), (7,)),
        ((1, 1, 7), (7,), (7,)),
        ((5, 7), (5, 7), (5, 7)),
        ((1, 7), (1, 7), (1, 7)),
        ((64, 3, 7, 7), (64, 147), (64, 3, 7, 7)),
        ((32, 1, 3, 3), (32, 9), (32, 3, 3)),
        ((1, 50, 8), (50, 8), (50, 8)),
        ((2, 3, 4, 5, 6), (2, 360), (2, 3, 4, 5, 6)),
    ],
)
def test_seen_as(shape, merged, modes):
    assert seen_as(shape, merge_dims=True) == merged
    assert seen_as(shape, merge_dims=False) == modes


@pytest.mark.parametrize(
    ("whole", "large", "vectors", "kinds"),
    [
        ((5, 7), "blocks", "identity", ["full", "full"]),
        ((5, 99), "blocks", "identity", ["full", "full"]),
        ((5, 99), "diagonal", "identity", ["full", "diagonal"]),
        ((99, 5, 99), "identity", "full", ["identity", "full", "identity"]),
        ((5,), "blocks", "identity", ["identity"]),
        ((99,), "blocks", "diagonal", ["diagonal"]),
        ((99,), "identity", "full", ["identity"]),
        ((5,), "identity", "full", ["full"]),
    ],
)
def test_mode_kinds(whole, large, vectors, kinds):
    assert mode_kinds(whole, 16, large, vectors) == tuple(kinds)


def shape_of(region):
    return tuple(cut.stop - cut.start for cut in region)


@pytest.mark.parametrize(
    ("whole", "max_dim", "shapes"),
    [
        ((10, 10), 10, [(10, 10)]),
        ((1152, 384), 1024, [(576, 384)] * 2),
        ((20, 10), 16, [(16, 10), (4, 10)]),
        ((2304, 5), 1024, [(768, 5)] * 3),
        ((4, 3), 1, [(1, 1)] * 12),
        ((40,), 16, [(16,), (16,), (8,)]),
        ((20, 3, 20), 16, [(16, 3, 16), (16, 3, 4), (4, 3, 16), (4, 3, 4)]),
    ],
)
def test_blocks_cover_the_tensor(whole, max_dim, shapes):
    cuts = regions(whole, ["full"] * len(whole), max_dim)
    assert [shape_of(cut) for cut in cuts] == shapes
    covered = torch.zeros(whole)
    for cut in cuts:
        covered[cut] += 1
    assert (covered == 1).all()


def test_only_modes_with_full_factors_are_cut():
    assert [shape_of(cut) for cut in regions((40, 40), ["full", "diagonal"], 20)] == [(20, 40)] * 2
    assert [shape_of(cut) for cut in regions((40,), ["identity"], 20)] == [(40,)]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_block_is_a_parameter_of_its_own(cls):
    whole = torch.nn.Parameter(torch.randn(40, 8, 4))
    matrix = whole.detach().reshape(40, 32)
    cuts = regions((40, 32), ["full", "full"], 16)
    parts = [torch.nn.Parameter(matrix[cut].clone()) for cut in cuts]
    assert len(parts) == 6
    settings = {"lr": 0.01, "weight_decay": 0.1, "update_every": 2}
    if cls is SOAP:
        settings["merge_dims"] = True
    if issubclass(cls, Shampoo):
        settings["relative_damping"] = 1e-4
    cut_up, one_by_one = cls([whole], max_dim=16, **settings), cls(parts, **settings)
    for _ in range(6):
        whole.grad = torch.randn(40, 8, 4)
        for cut, part in zip(cuts, parts, strict=True):
            part.grad = whole.grad.reshape(40, 32)[cut].clone()
        cut_up.step()
        one_by_one.step()
    for cut, part in zip(cuts, parts, strict=True):
        assert torch.equal(whole.detach().reshape(40, 32)[cut], part.detach())


@pytest.mark.parametrize("cls", CLASSES)
def test_strides_do_not_matter(cls):
    start, grads = torch.randn(6, 4, 3, 3), torch.randn(5, 6, 4, 3, 3)
    plain = torch.nn.Parameter(start.clone())
    last = torch.nn.Parameter(start.clone().to(memory_format=torch.channels_last))
    turned = torch.nn.Parameter(start.clone().transpose(0, 3).contiguous().transpose(0, 3))
    optimizer = cls([plain, last, turned], lr=0.1)
    for grad in grads:
        plain.grad, last.grad = grad.clone(), grad.to(memory_format=torch.channels_last)
        turned.grad = grad.expand(2, *grad.shape)[1]
        optimizer.step()
    assert last.is_contiguous(memory_format=torch.channels_last) and not turned.is_contiguous()
    assert not torch.equal(plain.detach(), start)
    assert torch.equal(plain, last) and torch.equal(plain, turned)


@pytest.mark.parametrize("cls", CLASSES)
def test_vectors_take_the_step_of_adam(cls):
    p, q = torch.nn.Parameter(torch.zeros(9)), torch.nn.Parameter(torch.zeros(9))
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.2}
    ours, adam = cls([p], **settings), torch.optim.AdamW([q], **settings)
    for step in range(8):
        grad = torch.randn(9)
        p.grad, q.grad = grad.clone(), grad.clone()
        ours.step()
        if not (cls is SOAP and step == 0):  # SOAP's first step moves nothing
            adam.step()
    torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_an_empty_parameter_is_passed_over():
    p = torch.nn.Parameter(torch.zeros(0, 4))
    p.grad = torch.zeros(0, 4)
    EShampoo([p]).step()
    assert p.shape == (0, 4)
