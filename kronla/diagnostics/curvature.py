"""Curvature matrices of a layer: second moments of gradients as operators that store nothing, and dense matrices."""

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

import kronla
from kronla.diagnostics.layers import Layer

# Elements of gradients that are held at once.
_CHUNK = 2**24


class Curvature(Protocol):
    """A symmetric matrix H of order mn that acts on m×n matrices: ``mat(H vec(V))``, with row-major vec."""

    @property
    def shape(self) -> tuple[int, int]:
        """m and n."""
        ...

    @property
    def like(self) -> Tensor:
        """An empty tensor of the dtype and on the device of the results."""
        ...

    def matvec(self, V: Tensor) -> Tensor:
        """``mat(H vec(V))`` for V ``[..., m, n]``."""
        ...

    def dense(self) -> Tensor:
        """H itself, ``[mn, mn]``."""
        ...

    def norm(self) -> float:
        """``‖H‖_F``."""
        ...

    def trace(self) -> float:
        """``Tr H``."""
        ...

    def diagonal(self, QL: Tensor | None = None, QR: Tensor | None = None) -> Tensor:
        """The diagonal of ``(Q_L⊗Q_R)ᵀ H (Q_L⊗Q_R)`` as m×n: the curvature along each vector of a basis."""
        ...

    def left(self, R: Tensor) -> Tensor:
        """``Ĥ(R)`` for the rearrangement Ĥ: ``[..., m, m]`` from any R ``[..., n, n]``; of gradients ``E[G R Gᵀ]``."""
        ...

    def right(self, L: Tensor) -> Tensor:
        """``Ĥᵀ(L)``: ``[..., n, n]`` from any L ``[..., m, m]``; of gradients ``E[Gᵀ L G]``."""
        ...

    def power_step(self, L: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
        """``(Ĥ(R), Ĥᵀ(L))`` in one pass, for symmetric L ``[m, m]`` and R ``[n, n]``."""
        ...


class Dense:
    """A symmetric matrix that is stored, as a :class:`Curvature`.

    Args:
        H: ``[mn, mn]``, float32 or float64; its dtype is that of all results.
        m, n: how vectors are seen as matrices.

    Raises:
        ValueError: a shape that is not ``[mn, mn]``.
    """

    def __init__(self, H: Tensor, m: int, n: int) -> None:
        if H.shape != (m * n, m * n):
            raise ValueError(f"H must have shape {(m * n, m * n)} for m = {m} and n = {n}, but has {tuple(H.shape)}.")
        self.H = H
        self.shape = (m, n)
        self.like = H.new_empty(0)

    def matvec(self, V: Tensor) -> Tensor:
        return (V.flatten(-2).to(self.H.dtype) @ self.H).reshape(V.shape)

    def dense(self) -> Tensor:
        return self.H

    def norm(self) -> float:
        return self.H.norm(dtype=torch.float64).item()

    def trace(self) -> float:
        return self.H.diagonal().sum(dtype=torch.float64).item()

    def diagonal(self, QL: Tensor | None = None, QR: Tensor | None = None) -> Tensor:
        if QL is None and QR is None:
            return self.H.diagonal().reshape(self.shape)
        m, n = self.shape
        QL, QR = (_or_identity(Q, size, self.H) for Q, size in ((QL, m), (QR, n)))
        half = torch.einsum("iajb,jk->iakb", self.H.reshape(m, n, m, n), QL)
        return torch.einsum("ik,iakb,al,bl->kl", QL, half, QR, QR)

    def left(self, R: Tensor) -> Tensor:
        return self._each(kronla.rearranged_matvec, R)

    def right(self, L: Tensor) -> Tensor:
        return self._each(kronla.rearranged_rmatvec, L)

    def power_step(self, L: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(R), self.right(L)

    def _each(self, product: Callable[[Tensor, Tensor], Tensor], factors: Tensor) -> Tensor:
        batch = factors.reshape(-1, *factors.shape[-2:]).to(self.H.dtype)
        found = torch.stack([product(self.H, factor) for factor in batch])
        return found.reshape(*factors.shape[:-2], *found.shape[1:])


class SecondMoment:
    r"""The second moment of gradients, which are made when they are needed and forgotten again.

    .. math:: H = \frac1N \sum_s \mathrm{vec}(G_s)\,\mathrm{vec}(G_s)^T, \qquad
        \mathrm{mat}(H\,\mathrm{vec}(V)) = \frac1N \sum_s \langle G_s, V\rangle\, G_s

    Every quantity is a pass over the gradients, chunk by chunk; sums are in float64.

    Args:
        chunks: gives, each time that it is called, the same gradients ``[k, m, n]`` in pieces.
        count: N, by which sums are divided.
        shape: m and n.
        device: where the gradients are.

    Raises:
        ValueError: a count that is not positive.

    :func:`gauss_newton`, :func:`fisher` and :func:`second_moment` make them.
    """

    def __init__(
        self,
        chunks: Callable[[], Iterable[Tensor]],
        count: float,
        shape: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> None:
        if not count > 0:
            raise ValueError(f"count must be positive, but is {count}.")
        self.chunks = chunks
        self.count = count
        self.shape = shape
        self.like = torch.empty(0, dtype=torch.float64, device=device)

    def stored(self) -> "SecondMoment":
        """The same with its gradients made once and kept: quicker where memory allows."""
        G = torch.cat(list(self.chunks()))
        return SecondMoment(lambda: [G], self.count, self.shape, G.device)

    def matvec(self, V: Tensor) -> Tensor:
        flat = V.flatten(-2).reshape(-1, math.prod(self.shape)).double()
        total = torch.zeros_like(flat)
        for G in self.chunks():
            g = G.flatten(1).double()
            total += (flat @ g.mT) @ g
        return (total / self.count).reshape(V.shape)

    def dense(self) -> Tensor:
        """H itself, float64 ``[mn, mn]``: for small layers."""
        total = self.like.new_zeros(2 * (math.prod(self.shape),))
        for G in self.chunks():
            g = G.flatten(1).double()
            total.addmm_(g.mT, g)
        return total / self.count

    def norm(self) -> float:
        """``‖H‖_F``, exactly: from H where it is the smaller, else from the Gram matrix of the gradients."""
        return self._norm

    @cached_property
    def _norm(self) -> float:
        if sum(len(G) for G in self.chunks()) > math.prod(self.shape):
            return self.dense().norm().item()
        total = 0.0
        for a in self.chunks():
            for b in self.chunks():
                total += (a.flatten(1).double() @ b.flatten(1).double().mT).square().sum().item()
        return math.sqrt(total) / self.count

    def trace(self) -> float:
        return sum(G.double().square().sum().item() for G in self.chunks()) / self.count

    def diagonal(self, QL: Tensor | None = None, QR: Tensor | None = None) -> Tensor:
        total = self.like.new_zeros(self.shape)
        for G in self.chunks():
            rotated = G.double()
            rotated = rotated if QL is None else QL.double().mT @ rotated
            rotated = rotated if QR is None else rotated @ QR.double()
            total += rotated.square().sum(0)
        return total / self.count

    def left(self, R: Tensor) -> Tensor:
        factors = R.reshape(-1, *R.shape[-2:]).double()
        total = self.like.new_zeros(len(factors), self.shape[0], self.shape[0])
        for G in self.chunks():
            g = G.double()
            for i, factor in enumerate(factors):
                total[i] += torch.einsum("sia,sja->ij", g @ factor, g)
        return (total / self.count).reshape(*R.shape[:-2], *total.shape[1:])

    def right(self, L: Tensor) -> Tensor:
        factors = L.reshape(-1, *L.shape[-2:]).double()
        total = self.like.new_zeros(len(factors), self.shape[1], self.shape[1])
        for G in self.chunks():
            g = G.double()
            for i, factor in enumerate(factors):
                total[i] += torch.einsum("sia,sib->ab", factor.mT @ g, g)
        return (total / self.count).reshape(*L.shape[:-2], *total.shape[1:])

    def power_step(self, L: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
        left, right = (self.like.new_zeros(k, k) for k in self.shape)
        for G in self.chunks():
            of_chunk = kronla.kron_power_step(G, L.double(), R.double())
            left, right = left + len(G) * of_chunk[0], right + len(G) * of_chunk[1]
        return left / self.count, right / self.count


def second_moment(G: Tensor) -> SecondMoment:
    r"""The second moment of stored gradients: ``H = (1/N) Σ_s vec(G_s) vec(G_s)ᵀ``.

    Of the gradients of N training steps it is AdaGrad's matrix over N: ``H_Ada = Σ_t vec(G_t)vec(G_t)ᵀ`` (Morwani et
    al. 2024, section 2); cosines and relative errors of approximations made from it do not see the N.

    Args:
        G: ``[N, m, n]``, any floating dtype.

    Raises:
        ValueError: another number of dimensions, or N = 0.
    """
    if G.dim() != 3 or len(G) == 0:
        raise ValueError(f"G must have shape [N, m, n] with N ≥ 1, but has {tuple(G.shape)}.")
    return SecondMoment(lambda: [G], len(G), (G.shape[-2], G.shape[-1]), G.device)


def gauss_newton(layer: Layer, inputs: Tensor) -> SecondMoment:
    r"""The Gauss–Newton matrix of a layer over inputs, exactly, and so the Fisher matrix of the model's own labels.

    .. math:: H_{GN} = \frac1N \sum_x J_x^T\, \nabla^2_f \ell(x)\, J_x
        = \mathbb E_x \mathbb E_{y \sim p(\cdot|x)}\, \mathrm{vec}(G_{x,y})\,\mathrm{vec}(G_{x,y})^T

    (Morwani et al. 2024, section 2). Labels are not drawn but summed over, through the roots of ``∇²_f ℓ``: C
    gradients an example.

    Args:
        layer: the weight.
        inputs: ``[N, ...]``.

    Returns:
        An operator on m×n matrices, in float64; ``dense()`` stores it. It is a mean over examples of the loss's second
        derivative (``kronla.diagnostics.losses`` has the factors to torch's losses).

    Raises:
        ValueError: no inputs, or a model whose outputs are not ``[N, C]``.
    """
    return _pulled(layer, inputs, layer.loss.roots(layer.outputs(inputs)), 1)


def fisher(
    layer: Layer,
    inputs: Tensor,
    labels: Tensor | None = None,
    *,
    batch_size: int = 1,
    generator: torch.Generator | None = None,
) -> SecondMoment:
    r"""The second moment of batch gradients, at labels that are given (the empirical Fisher) or drawn from the model.

    .. math:: F_B = \mathbb E\,[\mathrm{vec}(G_B)\,\mathrm{vec}(G_B)^T], \qquad G_B = \frac1{|B|} \sum_{x \in B} G_x

    With drawn labels ``|B| F_B`` has the expectation H_GN for any |B| (Morwani et al. 2024, Lemma 7); with real ones
    ``E[G_B G_Bᵀ] = E[GGᵀ]/|B| + (1 − 1/|B|) E[G]E[G]ᵀ`` (Lemma 8).

    Args:
        layer: the weight.
        inputs: ``[N, ...]``; each run of ``batch_size`` of them is a batch.
        labels: ``[N]``; None draws one for each example, once.
        batch_size: |B|; it must divide N.
        generator: for the draws.

    Returns:
        ``F_B``, an operator as that of :func:`gauss_newton`: a mean over the N/|B| batches of the squares of their mean
        gradients. With ``batch_size=1`` and labels it is the empirical Fisher ``(1/N) Σ_x vec(G_x) vec(G_x)ᵀ``.

    Raises:
        ValueError: no inputs, a ``batch_size`` that does not divide N, labels of another number than N.
    """
    if batch_size < 1 or len(inputs) % batch_size:
        raise ValueError(f"batch_size must divide the {len(inputs)} inputs, but is {batch_size}.")
    if labels is not None and len(labels) != len(inputs):
        raise ValueError(f"labels must be as many as the {len(inputs)} inputs, but are {len(labels)}.")
    outputs = layer.outputs(inputs)
    u = layer.loss.draws(outputs, generator) if labels is None else layer.loss.gradients(outputs, labels)
    return _pulled(layer, inputs, u.unsqueeze(1), batch_size)


def _pulled(layer: Layer, inputs: Tensor, cotangents: Tensor, batch_size: int) -> SecondMoment:
    elements = cotangents.shape[1] * math.prod(layer.shape)
    size = batch_size * max(1, _CHUNK // (elements * batch_size))

    def chunks() -> Iterable[Tensor]:
        for x, u in zip(inputs.split(size), cotangents.split(size), strict=True):
            G = layer.pull(x, u)
            yield G.unflatten(0, (-1, batch_size)).mean(1).flatten(0, 1)

    return SecondMoment(chunks, len(inputs) / batch_size, layer.shape, inputs.device)


def identities(H: Curvature) -> tuple[Tensor, Tensor]:
    """The identities of order m and n, where power steps start."""
    m, n = H.shape
    return torch.eye(m).to(H.like), torch.eye(n).to(H.like)


def _or_identity(Q: Tensor | None, size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device) if Q is None else Q.to(like.dtype)
