"""Products with Kronecker factors, against float64 and torch.kron."""

import pytest
import torch
from compare import assert_close, assert_same_bits, relative_errors, tolerance

import kronla
from kronla.testing import matrices, reference


def dense(*shape, dtype=torch.float32, device="cpu", seed=0):
    return matrices.gradients(*shape, decay=0.3, dtype=dtype, seed=seed).to(device)


def check(found, expected, terms, dtype, batch=0):
    """Close by its Frobenius norm, over all but the batch dimensions."""
    assert found.dtype == dtype and found.shape == expected.shape
    assert_close(found.flatten(batch)[..., None], expected.flatten(batch)[..., None], tolerance(terms, dtype))


SHAPES = [  # (a, m, n, b) of L [a, m], G [m, n], R [n, b]
    (1, 1, 1, 1),
    (2, 3, 5, 4),
    (16, 31, 32, 33),
    (64, 64, 64, 64),
    (65, 65, 2, 2),
    (127, 3, 129, 1),
    (128, 257, 5, 7),
    (33, 128, 64, 257),
    (4, 0, 3, 2),
    (0, 3, 2, 4),
    (3, 4, 0, 0),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kron_apply(shape, device, dtype):
    a, m, n, b = shape
    L, G, R = (dense(*s, dtype=dtype, device=device, seed=i) for i, s in enumerate(((a, m), (m, n), (n, b))))
    check(kronla.kron_apply(L, G, R), reference.kron_apply(L, G, R), m + n, dtype)


@pytest.mark.parametrize("batch", [(0,), (1,), (3,), (2, 3), (1000,)], ids=str)
def test_kron_apply_batches(batch, device, dtype):
    L, G, R = (dense(*batch, 4, 4, dtype=dtype, device=device, seed=i) for i in range(3))
    check(kronla.kron_apply(L, G, R), reference.kron_apply(L, G, R), 8, dtype, len(batch))


def test_kron_apply_gradient_dtypes(device, dtype, gradient_dtype):
    L, R = dense(2, 5, 33, dtype=dtype, device=device), dense(2, 20, 20, dtype=dtype, device=device)
    G = dense(2, 33, 20, dtype=gradient_dtype, device=device)
    check(kronla.kron_apply(L, G, R), reference.kron_apply(L, G, R), 53, dtype)


def test_kron_apply_is_as_accurate_as_torch(device):
    """At most twice the error of torch's float32 products, or 8·n·u."""
    L, G, R = (dense(257, 257, device=device, seed=i) for i in range(3))
    expected = reference.kron_apply(L, G, R)
    torch_error = relative_errors(L @ G @ R, expected).item()
    assert relative_errors(kronla.kron_apply(L, G, R), expected).item() <= max(2 * torch_error, 257 * 2.0**-24)


def test_convention(device, dtype):
    """Row-major: torch.kron(L, R) @ G.flatten() == (L @ G @ R.mT).flatten()."""
    L, G, R = (dense(*s, dtype=dtype, device=device, seed=i) for i, s in enumerate(((3, 3), (3, 5), (5, 5))))
    expected = (torch.kron(L.double(), R.double()) @ G.double().flatten()).view(3, 5)
    check(kronla.kron_apply(L, G, R.mT), expected, 8, dtype)
    check(kronla.mode_apply([L, R], G), expected, 8, dtype)


def test_inverse_of_the_kronecker_product(device):
    """The roots of the factors apply the root of torch.kron(L, R): what Shampoo is."""
    L, R = (matrices.symmetric("log-uniform", n, 10, dtype=torch.float64, seed=n).to(device) for n in (4, 6))
    G = dense(4, 6, dtype=torch.float64, device=device)
    found = kronla.kron_apply(kronla.inverse_root(L, 4).X, G, kronla.inverse_root(R, 4).X)
    H = kronla.inverse_root(torch.kron(L, R), 4).X
    assert_close(found, (H @ G.flatten()).view(4, 6), 1e-12)


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "row broadcast"])
def test_layouts(layout, device, dtype):
    L, G, R = (dense(2, 6, 6, dtype=dtype, device=device, seed=i) for i in range(3))
    change = {
        "transposed": lambda x: x.mT,
        "strided": lambda x: x[:, ::2, ::2],
        "expanded": lambda x: x[:1].expand(2, 6, 6),
        "row broadcast": lambda x: x[:, :1].expand(2, 6, 6),
    }[layout]
    L, G, R = (change(x) for x in (L, G, R))
    check(kronla.kron_apply(L, G, R), reference.kron_apply(L, G, R), 12, dtype)
    check(kronla.mode_apply([L, R], G), reference.mode_apply([L, R], G), 12, dtype)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales(scale, device, dtype):
    """Large times small: no overflow on the way, in either order."""
    L, G, R = (dense(8, 8, dtype=dtype, device=device, seed=i) for i in range(3))
    scaled = [L, scale * G, R]
    check(kronla.kron_apply(*scaled), reference.kron_apply(*scaled), 16, dtype)
    check(kronla.mode_apply([L, R], scale * G), reference.mode_apply([L, R], scale * G), 16, dtype)


DIMS = [  # (r_i, d_i) by dimension
    [(3, 5)],
    [(5, 5), (4, 4)],
    [(2, 33), (7, 3)],
    [(3, 4), (4, 5), (5, 6)],
    [(64, 64), (16, 16), (3, 3), (3, 3)],
    [(2, 1), (1, 2), (3, 3), (1, 1), (2, 2)],
    [(2, 3), (0, 4), (5, 2)],
    [(2, 3), (4, 0), (5, 2)],
]


@pytest.mark.parametrize("dims", DIMS, ids=str)
@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_mode_apply(dims, batch, device, dtype, gradient_dtype):
    Ms = [dense(*batch, r, d, dtype=dtype, device=device, seed=i) for i, (r, d) in enumerate(dims)]
    G = dense(*batch, *(d for _, d in dims), dtype=gradient_dtype, device=device)
    check(kronla.mode_apply(Ms, G), reference.mode_apply(Ms, G), sum(d for _, d in dims), dtype, len(batch))


@pytest.mark.parametrize("absent", [(0,), (1,), (2,), (0, 2), (0, 1)], ids=str)
def test_mode_apply_without_some(absent, device, dtype):
    Ms = [None if i in absent else dense(2, i + 2, 5, dtype=dtype, device=device, seed=i) for i in range(3)]
    G = dense(2, 5, 5, 5, dtype=dtype, device=device)
    check(kronla.mode_apply(Ms, G), reference.mode_apply(Ms, G), 15, dtype)


def test_mode_apply_of_none_is_a_copy(device, gradient_dtype):
    G = dense(3, 4, dtype=gradient_dtype, device=device).mT
    found = kronla.mode_apply([None, None], G)
    assert torch.equal(found, G)
    found.zero_()
    assert G.abs().max() > 0


def test_mode_apply_of_a_strided_tensor(device, dtype):
    G = dense(2, 6, 3, 5, dtype=dtype, device=device).permute(0, 3, 1, 2)
    Ms = [dense(2, 4, d, dtype=dtype, device=device) for d in (5, 6, 3)]
    check(kronla.mode_apply(Ms, G), reference.mode_apply(Ms, G), 14, dtype)


def test_lists_of_different_orders(device, dtype):
    lists = [
        ([dense(2, 3, dtype=dtype), None], dense(3, 4, dtype=torch.bfloat16)),
        ([None], dense(5, dtype=torch.float64)),
        ([None, dense(2, 7, 2, dtype=dtype), dense(2, 2, 2, dtype=dtype)], dense(2, 3, 2, 2, dtype=dtype)),
        ([dense(4, 4, dtype=dtype)], dense(4, dtype=torch.float16)),
    ]
    move = [[x if x is None else x.to(device) for x in Ms] for Ms, _ in lists]
    Gs = [G.to(device) for _, G in lists]
    found, expected = kronla.foreach_mode_apply(move, Gs), reference.foreach_mode_apply(move, Gs)
    for x, y in zip(found, expected, strict=True):
        assert x.shape == y.shape
        assert (x.double() - y).norm() <= tolerance(8, dtype) * y.norm()


def test_foreach_kron_apply(device, dtype):
    shapes = [(2, 3, 4, 5), (33, 65, 3, 1), (1, 1, 1, 1), (3, 0, 2, 2)]
    Ls, Gs, Rs = [], [], []
    for a, m, n, b in shapes:
        Ls.append(dense(2, a, m, dtype=dtype, device=device))
        Gs.append(dense(2, m, n, dtype=torch.bfloat16, device=device))
        Rs.append(dense(2, n, b, dtype=dtype, device=device))
    found = kronla.foreach_kron_apply(Ls, Gs, Rs)
    assert_same_bits(found, [kronla.kron_apply(*x) for x in zip(Ls, Gs, Rs, strict=True)])
    for x, y in zip(found, reference.foreach_kron_apply(Ls, Gs, Rs), strict=True):
        check(x, y, 68, dtype)


def test_empty_lists():
    assert kronla.foreach_kron_apply([], [], []) == []
    assert kronla.foreach_mode_apply([], []) == []
