"""What the tests of torch.optim's manners share: parameters, their gradients by seed, steps, saved states."""

import io

import torch

from kronla.optim import SOAP, EShampoo, OptimalKronecker, Shampoo, Shampoo2

CLASSES = [Shampoo, Shampoo2, OptimalKronecker, EShampoo, SOAP]
SHAPES = [(12, 9), (9,), (8, 3, 3, 3), (), (1, 4), (40, 5)]


def parameters(dtype=torch.float32, shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def feed(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def advance(optimizer, params, steps):
    for seed in steps:
        feed(params, seed)
        optimizer.step()


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def saved(optimizer):
    """What comes back from a file that is read with weights_only=True."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)
