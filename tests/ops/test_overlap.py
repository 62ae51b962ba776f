"""In-place outputs that share memory raise before anything is written; views that do not, are written through."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import kronla


def run(L, R=None, G=None, **options):
    G = torch.ones(*L.shape[:-2], 3, 3) if G is None else G
    kronla.update_factors_(L, R, G, beta=0.5, **options)


def storage():
    return torch.eye(3).repeat(4, 1, 1)


def expanded_over_the_batch(x):
    run(x[:1].expand(4, 3, 3))


def expanded_over_rows(x):
    run(x[0, :1].expand(3, 3))


def windows_that_overlap(x):
    run(x.flatten()[:11].unfold(0, 9, 1).unflatten(1, (3, 3)))


def L_is_R(x):
    run(x, x)


def L_and_R_meet(x):
    run(x[:3], x[1:], torch.ones(3, 3, 3))


def L_is_G(x):
    run(x, None, x)


def G_is_a_view_of_L(x):
    run(x[0], None, x[0, :, :2])


def R_is_a_transposed_weight(x):
    run(torch.eye(3), x[0], weights=(x[0].mT, None))


def twice_in_a_list(x):
    kronla.foreach_update_factors_([x[0], x[0]], [None, None], [torch.ones(3, 2)] * 2, beta=0.5)


def across_lists(x):
    kronla.foreach_update_factors_([x[0], None], [None, x[0]], [torch.ones(3, 3)] * 2, beta=0.5)


def G_of_another_entry(x):
    kronla.foreach_update_factors_([x[0], x[1]], [None, None], [torch.ones(3, 3), x[0]], beta=0.5)


def modes_twice(x):
    kronla.update_mode_factors_([x[0], x[0]], torch.ones(3, 3), beta=0.5)


def a_mode_is_G(x):
    kronla.update_mode_factors_([x[0], None], x[0], beta=0.5)


def mode_lists_meet(x):
    kronla.foreach_update_mode_factors_([[x[0]], [x[0]]], [torch.ones(3), torch.ones(3)], beta=0.5)


OVERLAPS = [
    expanded_over_the_batch,
    expanded_over_rows,
    windows_that_overlap,
    L_is_R,
    L_and_R_meet,
    L_is_G,
    G_is_a_view_of_L,
    R_is_a_transposed_weight,
    twice_in_a_list,
    across_lists,
    G_of_another_entry,
    modes_twice,
    a_mode_is_G,
    mode_lists_meet,
]


@pytest.mark.parametrize("call", OVERLAPS, ids=lambda f: f.__name__)
def test_overlap_raises(call):
    x = storage()
    with pytest.raises(ValueError, match=r"overlap|shares? memory"):
        call(x)
    assert torch.equal(x, storage())


strides = st.tuples(st.integers(0, 7), st.integers(0, 7))


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(st.integers(1, 3), st.integers(1, 3), strides, strides, st.integers(0, 20), st.integers(0, 20))
def test_overlap_is_exact(m, n, L_strides, G_strides, L_offset, G_offset):
    """Any two strided views of one storage: the call raises where an element is shared, and only there."""
    x = torch.zeros(60)
    L, G = x.as_strided((m, m), L_strides, L_offset), x.as_strided((m, n), G_strides, G_offset)
    places = torch.arange(60)
    written = places.as_strided(L.shape, L_strides, L_offset).flatten().tolist()
    read = places.as_strided(G.shape, G_strides, G_offset).flatten().tolist()
    if len(set(written)) < len(written) or set(written) & set(read):
        with pytest.raises(ValueError, match=r"overlap|shares? memory"):
            run(L, None, G)
    else:
        run(L, None, G)


windows = st.lists(st.integers(0, 40), min_size=2, max_size=5)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(windows, windows)
def test_overlap_is_exact_in_lists(L_offsets, G_offsets):
    """Windows of four elements of one storage: those that are read may meet each other, those written may not."""
    x = torch.zeros(44)
    count = min(len(L_offsets), len(G_offsets))
    Ls, Gs = ([x[o : o + 4].view(2, 2) for o in offsets[:count]] for offsets in (L_offsets, G_offsets))
    written = [set(range(o, o + 4)) for o in L_offsets[:count]]
    read = [set(range(o, o + 4)) for o in G_offsets[:count]]
    pairs = [(a, b) for i, a in enumerate(written) for b in [*written[i + 1 :], *read]]
    arguments = Ls, [None] * count, Gs
    if any(a & b for a, b in pairs):
        with pytest.raises(ValueError, match="shares memory"):
            kronla.foreach_update_factors_(*arguments, beta=0.5)
    else:
        kronla.foreach_update_factors_(*arguments, beta=0.5)


def test_overlap_names_the_elements():
    x = storage()
    with pytest.raises(ValueError, match=r"^Rs\[0\] is updated in place but shares memory with Gs\[1\];"):
        kronla.foreach_update_factors_([None] * 2, [x[0], x[1]], [torch.ones(3, 3), x[0]], beta=0.5)
    with pytest.raises(ValueError, match=r"^factor_lists\[1\]\[0\] is updated in place but overlaps itself"):
        kronla.foreach_update_mode_factors_([[None], [x[0, :1].expand(3, 3)]], [torch.ones(3)] * 2, beta=0.5)


def test_interleaved_views_are_no_overlap():
    """L and R in one storage, L in the even columns, R in the odd ones, G in a third place."""
    x = torch.zeros(3, 3, 6)
    G = torch.arange(9.0).view(3, 3)
    L, R = x[0, :, ::2], x[0, :, 1::2]
    kronla.update_factors_(L, R, G, beta=0)
    assert torch.equal(L, G @ G.mT) and torch.equal(R, G.mT @ G)
    assert not x[1:].any()


def test_shared_inputs_are_no_overlap():
    """Only what is written must be alone: one G, one weight may serve twice."""
    G, W = torch.ones(3, 3), torch.eye(3)
    Ls, Rs = [torch.zeros(3, 3) for _ in range(2)], [torch.zeros(3, 3) for _ in range(2)]
    kronla.foreach_update_factors_(Ls, Rs, [G, G], beta=0, weights=[(W, W), (W, W)])
    assert torch.equal(Ls[0], Ls[1]) and torch.equal(Rs[0], 3 * G)


def test_a_dimension_of_size_one_may_have_any_stride():
    L = torch.zeros(1, 3, 3).as_strided((1, 3, 3), (0, 3, 1))
    kronla.update_factors_(L, None, torch.ones(1, 3, 2), beta=0)
    assert torch.equal(L[0], 2 * torch.ones(3, 3))


def test_empty_outputs_overlap_nothing():
    x = torch.zeros(0, 3, 3)
    kronla.update_factors_(x, x, torch.zeros(0, 3, 3), beta=0)


def test_factors_side_by_side_in_one_buffer_are_cheap(monkeypatch):
    def listed(tensor):
        raise AssertionError("every address was listed")

    monkeypatch.setattr("kronla.ops.checks._addresses", listed)
    buffer = torch.zeros(256, 512)
    kronla.update_factors_(buffer[:, :256], buffer[:, 256:], torch.randn(256, 256), beta=0.9)
    assert (buffer != 0).all()


def test_a_lazily_negated_output_is_refused():
    F = torch.zeros(4, 4, dtype=torch.complex64).conj().imag
    with pytest.raises(ValueError, match="resolve_neg"):
        kronla.update_factors_(F, None, torch.eye(4), beta=0.0)
