"""Wrong programs raise: the right exception, in one sentence that names the argument."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from cases import CASES, FOREACH_CASES, foreach, tensors
from torch.utils import _pytree as pytree

import kronla


def eye(n=3, *batch, **options):
    return torch.eye(n, **options).repeat(*batch, 1, 1)


def ones(*shape, **options):
    return torch.ones(*shape, **options)


def raises(kind, message, call, id):
    return pytest.param(kind, message, call, id=id)


def check(kind, message, call):
    with pytest.raises(kind, match=message) as caught:
        call()
    sentence = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in sentence and len(sentence) < 300


def replaced(call, position, value):
    """The call with its tensor at a position, in the order of its arguments, replaced."""
    leaves, spec = pytree.tree_flatten((call.args, call.kwargs))
    where = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
    leaves[where[position]] = value(leaves[where[position]]) if callable(value) else value
    return call._replace(**dict(zip(("args", "kwargs"), pytree.tree_unflatten(leaves, spec), strict=True)))


def tensor_count(call):
    return len(tensors((call.args, call.kwargs)))


def every_tensor(at_least=1):
    """(call, position of a tensor in it) for each tensor of each op; of a list the last."""
    for case in CASES:
        call = case.call(batch=(2,), dtype=torch.float64)
        if (count := tensor_count(call)) >= at_least:
            yield from (pytest.param(call, i, id=f"{case.label}-{i}") for i in range(count))
            if case in FOREACH_CASES:
                yield pytest.param(foreach(case, [call, call.clone()]), -1, id=f"foreach_{case.label}")


each_tensor = pytest.mark.parametrize(("call", "position"), list(every_tensor()))
each_of_several_tensors = pytest.mark.parametrize(("call", "position"), list(every_tensor(at_least=2)))


@each_tensor
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float8_e5m2], ids=str)
def test_dtypes_that_are_not_real_numbers(call, position, dtype):
    check(TypeError, r"dtype", replaced(call, position, lambda x: x.to(dtype)).run)


@each_tensor
def test_complex(call, position):
    check(NotImplementedError, r"complex", replaced(call, position, lambda x: x.to(torch.complex64)).run)


@each_tensor
def test_sparse(call, position):
    check(NotImplementedError, r"sparse", replaced(call, position, lambda x: x.to_sparse()).run)


@each_tensor
@pytest.mark.parametrize("value", [3.0, "A", [[1.0]]], ids=str)
def test_not_a_tensor(call, position, value):
    replacement = replaced(call, position, value)
    check(TypeError, r"must be (a|an) ", replacement.run)


@each_tensor
def test_too_few_dimensions(call, position):
    check(ValueError, r"dimension|shape|square", replaced(call, position, ones(3, dtype=torch.float64)).run)


@each_of_several_tensors
def test_batch_dimensions_that_differ(call, position):
    """No broadcasting: (1, …) does not go with (2, …)."""
    check(ValueError, r"shape|batch", replaced(call, position, lambda x: x[:1]).run)


def accumulators_and_one_of_another_dtype():
    """Only gradients may have a dtype of their own."""
    for case in CASES:
        call = case.call(dtype=torch.float64)
        accumulators = [i for i in range(tensor_count(call)) if i != case.gradient]
        if len(accumulators) > 1:
            yield pytest.param(replaced(call, accumulators[-1], lambda x: x.float()), id=case.label)
        if case in FOREACH_CASES:
            mixed = foreach(case, [call.clone(), case.call(dtype=torch.float32)])
            yield pytest.param(mixed, id=f"foreach_{case.label}")


@pytest.mark.parametrize("call", list(accumulators_and_one_of_another_dtype()))
def test_mixed_accumulators(call):
    check(TypeError, r"same dtype", call.run)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_half_precision_accumulators(case):
    """bfloat16 is for gradients only."""
    call = case.call(dtype=torch.bfloat16)
    if case.name == "nearest_kronecker_from_gradients":
        assert call.run()[0].dtype == torch.float32
    else:
        check(TypeError, r"dtype", call.run)


@pytest.mark.parametrize("device", ["meta", "cuda"])
@each_of_several_tensors
def test_mixed_devices(call, position, device):
    """The meta device stands for another one where there is no accelerator."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    check(ValueError, r"device", replaced(call, position, lambda x: x.to(device)).run)


SQUARE = {
    "update_factors_": lambda x: kronla.update_factors_(x, None, ones(3, 2), beta=0.9),
    "update_mode_factors_": lambda x: kronla.update_mode_factors_([x], ones(3), beta=0.9),
    "kron_power_step": lambda x: kronla.kron_power_step(ones(1, 3, 3), x, eye()),
    "inverse_root": lambda x: kronla.inverse_root(x, 2),
    "foreach_inverse_root": lambda x: kronla.foreach_inverse_root([eye(), x], 2),
    "off_diagonal_ratio": lambda x: kronla.off_diagonal_ratio(x, eye()),
    "update_eigenbasis-A": lambda x: kronla.update_eigenbasis(x, eye()),
    "update_eigenbasis-Q": lambda x: kronla.update_eigenbasis(eye(), x),
    "eigh": kronla.eigh,
    "foreach_eigh": lambda x: kronla.foreach_eigh([x]),
    "rearrange": lambda x: kronla.rearrange(x, 1, 3),
    "rearranged_matvec": lambda x: kronla.rearranged_matvec(x, eye()),
    "nearest_kronecker": lambda x: kronla.nearest_kronecker(x, 3, 1),
}


@pytest.mark.parametrize("name", SQUARE)
def test_not_square(name):
    check(ValueError, r"square|shape", lambda: SQUARE[name](ones(3, 4)))


SHAPES = [
    raises(ValueError, r"\bL\b", lambda: kronla.update_factors_(eye(4), eye(2), ones(3, 2), beta=0.9), "L and G"),
    raises(ValueError, r"\bR\b", lambda: kronla.update_factors_(eye(3), eye(3), ones(3, 2), beta=0.9), "R and G"),
    raises(
        ValueError,
        r"weights\[1\]",
        lambda: kronla.update_factors_(eye(3), eye(2), ones(3, 2), beta=0.9, weights=(None, eye(3))),
        "weights, the wrong way round",
    ),
    raises(ValueError, r"\bG\b", lambda: kronla.update_mode_factors_([eye(), eye()], ones(3), beta=0.9), "order"),
    raises(
        ValueError, r"factors\[1\]", lambda: kronla.update_mode_factors_([None, eye()], ones(3, 4), beta=0.9), "mode"
    ),
    raises(ValueError, r"\bR\b", lambda: kronla.kron_power_step(ones(2, 3, 4), eye(3), eye(3)), "power step"),
    raises(ValueError, r"\bG\b", lambda: kronla.kron_power_step(ones(0, 3, 4), eye(3), eye(4)), "no samples"),
    raises(ValueError, r"\bG\b", lambda: kronla.nearest_kronecker_from_gradients(ones(0, 3, 4)), "no gradients"),
    raises(ValueError, r"fallback", lambda: kronla.inverse_root(eye(3), 2, fallback=eye(4)), "fallback"),
    raises(
        ValueError,
        r"fallbacks\[0\]",
        lambda: kronla.foreach_inverse_root([eye(3)], 2, fallbacks=[eye(3, 2)]),
        "fallbacks",
    ),
    raises(ValueError, r"\bQ\b", lambda: kronla.update_eigenbasis(eye(3), eye(4)), "A and Q"),
    raises(ValueError, r"\bQ\b", lambda: kronla.off_diagonal_ratio(eye(3), eye(2)), "ratio of A and Q"),
    raises(ValueError, r"\bS\b", lambda: kronla.orthonormalize(ones(3, 4)), "a wide S"),
    raises(ValueError, r"\bH\b", lambda: kronla.rearrange(eye(6), 2, 4), "m times n"),
    raises(ValueError, r"\bM\b", lambda: kronla.unrearrange(ones(4, 6), 2, 3), "unrearrange"),
    raises(ValueError, r"\bR\b", lambda: kronla.rearranged_matvec(eye(6), eye(4)), "matvec"),
    raises(ValueError, r"\bL\b", lambda: kronla.rearranged_rmatvec(eye(6), eye(4)), "rmatvec"),
    raises(ValueError, r"start\[1\]", lambda: kronla.nearest_kronecker(eye(6), 2, 3, start=(eye(2), eye(2))), "start"),
    raises(ValueError, r"\bL\b", lambda: kronla.kron_apply(ones(3, 4), ones(3, 4), eye(4)), "L @ G"),
    raises(ValueError, r"\bR\b", lambda: kronla.kron_apply(eye(3), ones(3, 4), eye(3)), "G @ R"),
    raises(ValueError, r"matrices", lambda: kronla.mode_apply([eye(3)], ones(3, 4)), "mode_apply order"),
    raises(ValueError, r"matrices\[0\]", lambda: kronla.mode_apply([ones(3, 4), None], ones(3, 4)), "mode_apply"),
    raises(
        ValueError,
        r"^matrix_lists\[1\]\[0\] must have shape \(4, 3\) \(Gs\[1\] is \(3,\)\), got \(4, 2\)\.$",
        lambda: kronla.foreach_mode_apply([[None], [ones(4, 2)]], [ones(3), ones(3)]),
        "matrix_lists",
    ),
    raises(
        ValueError,
        r"^weights\[1\]\[0\] must have shape \(3, 3\) \(Gs\[1\] is \(3, 2\)\), got \(4, 4\)\.$",
        lambda: kronla.foreach_update_factors_(
            [eye(3)] * 2, [None] * 2, [ones(3, 2)] * 2, beta=0.9, weights=[None, (eye(4), None)]
        ),
        "weights of lists",
    ),
    raises(
        ValueError,
        r"^H must have shape \(8, 8\) \(m = 2, n = 4\), got \(6, 6\)\.$",
        lambda: kronla.rearrange(eye(6), 2, 4),
        "sizes",
    ),
]


@pytest.mark.parametrize(("kind", "message", "call"), SHAPES)
def test_shapes(kind, message, call):
    check(kind, message, call)


def update(**options):
    return lambda: kronla.update_factors_(eye(), eye(), eye(), **options)


def root(p=2, **options):
    return lambda: kronla.inverse_root(eye(), p, **options)


def basis(**options):
    return lambda: kronla.update_eigenbasis(eye(), eye(), **options)


NUMBERS = [
    *[raises(ValueError, "beta", update(beta=x), f"beta {x}") for x in (math.nan, math.inf)],
    raises(TypeError, "beta", update(beta="0.9"), "beta a string"),
    raises(TypeError, "beta", update(beta=torch.tensor(0.9)), "beta a tensor"),
    raises(ValueError, "alpha", update(beta=1), "beta 1 without alpha"),
    raises(ValueError, "alpha", update(beta=0.9, alpha=math.nan), "alpha NaN"),
    raises(TypeError, "alpha", update(beta=0.9, alpha=[1]), "alpha a list"),
    raises(TypeError, "weights", update(beta=0.9, weights=eye()), "weights a tensor"),
    raises(ValueError, "alpha", lambda: kronla.update_mode_factors_([eye()], ones(3), beta=1.0), "modes, beta 1"),
    raises(
        ValueError, "beta", lambda: kronla.foreach_update_factors_([], [], [], beta=math.nan), "beta of empty lists"
    ),
    *[raises(ValueError, r"\bp\b", root(x), f"p {x}") for x in (0, -2, 0.0, math.nan, math.inf, Fraction(-1, 2))],
    *[raises(TypeError, r"\bp\b", root(x), f"p {x!r}") for x in ("2", None, 2j, True)],
    *[raises(ValueError, "damping", root(damping=x), f"damping {x}") for x in (-1e-12, math.nan, math.inf)],
    *[raises(ValueError, "relative_damping", root(relative_damping=x), f"relative {x}") for x in (-1.0, math.nan)],
    raises(TypeError, "damping", root(damping="0"), "damping a string"),
    *[raises(ValueError, "rtol", root(rtol=x), f"rtol {x}") for x in (-1.0, math.nan)],
    raises(ValueError, "max_steps", root(max_steps=-1), "max_steps of a root"),
    raises(TypeError, "max_steps", root(max_steps=1.5), "max_steps a float"),
    raises(NotImplementedError, "method", root(method="newton"), "method of a root"),
    raises(TypeError, "method", root(method=None), "method None"),
    *[raises(ValueError, "tol", basis(tol=x), f"tol {x}") for x in (-0.1, 1.1, math.nan)],
    raises(TypeError, "tol", basis(tol="0"), "tol a string"),
    raises(ValueError, "max_steps", basis(max_steps=-1), "max_steps of a basis"),
    raises(TypeError, "max_steps", basis(max_steps=2.0), "max_steps 2.0"),
    raises(NotImplementedError, "method", basis(method="jacobi"), "method of a basis"),
    raises(
        NotImplementedError, "method", lambda: kronla.foreach_update_eigenbasis([eye()], [eye()], method="QR"), "case"
    ),
    raises(ValueError, r"\bm\b", lambda: kronla.rearrange(eye(6), -2, -3), "m negative"),
    raises(TypeError, r"\bn\b", lambda: kronla.rearrange(eye(6), 2, 3.0), "n a float"),
    raises(ValueError, "steps", lambda: kronla.nearest_kronecker(eye(6), 2, 3, steps=-1), "steps"),
    raises(
        TypeError, "steps", lambda: kronla.nearest_kronecker_from_gradients(ones(1, 2, 3), steps=0.5), "steps a float"
    ),
    raises(TypeError, "start", lambda: kronla.nearest_kronecker(eye(6), 2, 3, start=eye(2)), "start a tensor"),
]


@pytest.mark.parametrize(("kind", "message", "call"), NUMBERS)
def test_numbers(kind, message, call):
    check(kind, message, call)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, Fraction])
def test_numbers_of_other_types(kind):
    """Whatever is a real number, or an integer, is taken as one."""
    L, expected, G = eye(), eye(), ones(3, 2)
    kronla.update_factors_(L, None, G, beta=kind(0.5))
    kronla.update_factors_(expected, None, G, beta=0.5)
    assert torch.equal(L, expected)
    assert kronla.update_eigenbasis(L, eye(), tol=kind(0), max_steps=np.int64(2)).steps == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_numbers_of_other_types_that_are_not_finite(kind, value):
    check(ValueError, "alpha", lambda: kronla.update_factors_(eye(), None, ones(3, 2), beta=0.5, alpha=kind(value)))


@pytest.mark.parametrize("case", FOREACH_CASES, ids=lambda case: case.label)
def test_list_lengths_that_differ(case):
    call = foreach(case, [case.call(), case.call()])
    shorter = [call._replace(args=(call.args[0][:1], *call.args[1:]))] if len(call.args) > 1 else []
    shorter += [
        call._replace(kwargs=call.kwargs | {key: value[:1]})
        for key, value in call.kwargs.items()
        if isinstance(value, list)
    ]
    for wrong in shorter:
        check(ValueError, r"length", wrong.run)


@pytest.mark.parametrize("case", FOREACH_CASES, ids=lambda case: case.label)
def test_lists_are_lists(case):
    """A batched tensor is no list of matrices."""
    call = foreach(case, [case.call(), case.call()])
    check(TypeError, r"list", call._replace(args=(*call.args[:-1], torch.stack(call.args[-1]))).run)


def test_keyword_only():
    """Tensors (and p, m, n) are positional, the rest is not."""
    with pytest.raises(TypeError):
        kronla.update_factors_(eye(), eye(), eye(), 0.9)
    with pytest.raises(TypeError):
        kronla.inverse_root(eye(), 2, 0.1)
    with pytest.raises(TypeError):
        kronla.update_eigenbasis(eye(), eye(), 0.1)
