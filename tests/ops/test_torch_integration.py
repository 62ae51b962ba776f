"""The ops as torch sees them: registered with fake kernels, traceable, never differentiable."""

import inspect
from fractions import Fraction

import pytest
import torch
from cases import CASES, FOREACH_CASES, foreach, tensors
from compare import assert_same_bits
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import kronla


class Recorder(TorchDispatchMode):
    """Keeps each call of an op of kronla, with its arguments as they were before."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.namespace == "kronla":
            self.calls.append((func, *pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))))
        return func(*args, **kwargs)


def all_calls(**options):
    """A call for every case, and a ``foreach_*`` call for those that have one."""
    singles = [(case.label, case.call(batch=(2,), **options)) for case in CASES]
    lists = [
        (f"foreach_{case.label}", foreach(case, [case.call(5, 3, **options), case.call(batch=(2,), **options)]))
        for case in FOREACH_CASES
    ]
    return singles + lists


every_call = pytest.mark.parametrize("call", [pytest.param(call, id=label) for label, call in all_calls()])


def test_the_table_has_every_op():
    names = {call.name for _, call in all_calls()}
    public = {name for name in vars(kronla) if inspect.isfunction(getattr(kronla, name))}
    assert names == public
    assert len(names) == 23


@every_call
def test_opcheck(call):
    """What the public function calls is ``torch.ops.kronla.<its name>``, and torch finds no fault in it."""
    with Recorder() as recorder:
        call.clone().run()
    assert [func.__name__.split(".")[0] for func, *_ in recorder.calls] == [call.name]
    for func, args, kwargs in recorder.calls:
        torch.library.opcheck(func, args, kwargs)


def compiled(name):
    """The op under torch.compile; those of its arguments that are no tensors are constants."""

    def call(*args, **kwargs):
        leaves, spec = pytree.tree_flatten((args, kwargs))
        where = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]

        def f(*inputs):
            filled = list(leaves)
            for i, x in zip(where, inputs, strict=True):
                filled[i] = x
            args, kwargs = pytree.tree_unflatten(filled, spec)
            return getattr(kronla, name)(*args, **kwargs)

        torch.compiler.reset()
        return torch.compile(f, fullgraph=True, backend="aot_eager")(*(leaves[i] for i in where))

    return call


@every_call
def test_compile(call):
    assert_same_bits(call.clone().run(compiled(call.name)), call.clone().run())


@pytest.mark.parametrize("p", [3, 1.5, Fraction(4, 3)])
def test_compile_with_any_exponent(p):
    A = torch.eye(3) * 2

    @torch.compile(fullgraph=True, backend="aot_eager")
    def f(A):
        return kronla.inverse_root(A, p).X

    assert_same_bits([f(A)], [kronla.inverse_root(A, p).X])


def test_compile_with_numbers_that_change():
    """Numbers from outside, as a schedule gives them, are symbols to the compiler from the second value on."""
    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def f(L, G, beta, damping):
        kronla.update_factors_(L, None, G, beta=beta)
        return kronla.inverse_root(L + 0, 2, damping=damping).X

    G = torch.randn(3, 5)
    for beta, damping in ((0.5, 0.1), (0.75, 0.2), (0.875, 0.3)):
        L, expected = torch.eye(3), torch.eye(3)
        kronla.update_factors_(expected, None, G, beta=beta)
        found = f(L, G, beta, damping)
        assert_same_bits([L, found], [expected, kronla.inverse_root(expected, 2, damping=damping).X])


def test_compile_with_dynamic_shapes():
    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=True)
    def f(L, R, G):
        kronla.update_factors_(L, R, G, beta=0.5)
        found = kronla.eigh(L + 0)
        return kronla.kron_apply(found.Q.mT, G, R)

    for m, n in ((3, 4), (6, 5), (9, 2)):
        L, R, G = torch.eye(m), torch.eye(n), torch.randn(m, n)
        eager = [x.clone() for x in (L, R)]
        kronla.update_factors_(*eager, G, beta=0.5)
        expected = kronla.kron_apply(kronla.eigh(eager[0]).Q.mT, G, eager[1])
        assert_same_bits([f(L, R, G), L, R], [expected, *eager])


GRADIENT_INPUTS = {
    "tensor": lambda x: x.clone().requires_grad_(),
    "parameter": lambda x: torch.nn.Parameter(x.clone()),
    "frozen parameter": lambda x: torch.nn.Parameter(x.clone(), requires_grad=False),
}


@every_call
@pytest.mark.parametrize("kind", GRADIENT_INPUTS)
def test_requires_grad(call, kind):
    """Inputs that require grad are detached; what comes back is a tensor that does not require it."""
    inputs = call.map(GRADIENT_INPUTS[kind])
    writes = tensors(inputs.args) if call.in_place else []
    outputs = inputs.run()
    assert_same_bits(outputs, call.clone().run())
    results = [x for x in outputs if not any(x is y for y in writes)]
    assert not any(x.requires_grad for x in results)
    assert all(type(x) is torch.Tensor for x in results)


@every_call
def test_forward_mode(call):
    """Tangents end here too."""
    if call.in_place:
        pytest.skip("what is written to keeps its own")
    with forward_ad.dual_level():
        outputs = call.map(lambda x: forward_ad.make_dual(x.clone(), torch.ones_like(x))).run()
        assert all(forward_ad.unpack_dual(x).tangent is None for x in outputs)


def test_copies_have_no_tangent():
    """Where all matrices are None nothing is multiplied."""
    with forward_ad.dual_level():
        G = forward_ad.make_dual(torch.ones(2, 3), torch.ones(2, 3))
        copies = [kronla.mode_apply([None, None], G), *kronla.foreach_mode_apply([[None], [None]], [G[0], G])]
        assert all(forward_ad.unpack_dual(x).tangent is None for x in copies)


def without_data(outputs):
    return [(x.shape, x.dtype, x.stride()) for x in outputs]


@every_call
def test_meta_tensors(call):
    outputs = call.map(lambda x: x.to("meta")).run()
    assert without_data(outputs) == without_data(call.clone().run())
    assert all(x.is_meta for x in outputs)


@every_call
def test_fake_tensors(call):
    """Outside of torch.compile too."""
    with FakeTensorMode() as mode:
        outputs = call.map(mode.from_tensor).run()
    assert without_data(outputs) == without_data(call.clone().run())
    assert all(isinstance(x, FakeTensor) for x in outputs)


def test_inside_autograd():
    """An op on a gradient, in a hook and under grad mode, does not enter the graph."""
    W = torch.randn(4, 3, requires_grad=True)
    (W.square().sum()).backward()
    L = torch.zeros(4, 4)
    kronla.update_factors_(L, None, W.grad * W, beta=0.0)
    assert L.grad_fn is None and not L.requires_grad


@every_call
def test_results_share_no_memory(call):
    """No result is a view of an input or of another result."""
    inputs = {x.untyped_storage().data_ptr() for x in tensors((call.args, call.kwargs)) if x.numel()}
    if call.in_place:
        pytest.skip("in place")
    outputs = [x for x in call.run() if x.numel()]
    storages = [x.untyped_storage().data_ptr() for x in outputs]
    assert len(set(storages)) == len(storages)
    assert not inputs & set(storages)
