"""One weight of a model, seen as a matrix: its per-example gradients, and the signals that K-FAC is made of."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from kronla.diagnostics.losses import CrossEntropy, Loss


@dataclass(frozen=True)
class Layer:
    r"""A weight W of a model, seen as m×n: the rows of a Linear, or O×(I·h·w) of a Conv2d.

    The gradient of example x for a cotangent u of the outputs f(x) is ``G = mat(Jᵀu)`` with ``J = ∂f(x)/∂vec(W)``, by
    ``torch.func``: any model that vmaps will do (no BatchNorm in training mode, no dropout that draws).

    Args:
        model: maps a batch of inputs ``[N, ...]`` to outputs ``[N, C]``, each example by itself.
        name: the parameter's name, as in ``model.named_parameters()``; it needs two dimensions or more.
        loss: a :class:`kronla.diagnostics.losses.Loss`; the softmax's cross-entropy unless said.

    Raises:
        ValueError: a name that the model does not have, or a parameter with fewer than two dimensions.

    Example:
        >>> layer = Layer(nn.Linear(3, 2), "weight")
        >>> layer.gradients(torch.ones(5, 3), torch.zeros(5, dtype=torch.int64)).shape
        torch.Size([5, 2, 3])
    """

    model: nn.Module
    name: str
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        parameters = dict(self.model.named_parameters())
        if self.name not in parameters:
            raise ValueError(f"name must be one of {', '.join(parameters)}, but is {self.name!r}.")
        if parameters[self.name].dim() < 2:
            raise ValueError(
                f"name must be that of a parameter with two dimensions or more, but {self.name!r} is "
                f"{tuple(parameters[self.name].shape)}."
            )

    @property
    def weight(self) -> Tensor:
        """The parameter."""
        return self.model.get_parameter(self.name)

    @property
    def shape(self) -> tuple[int, int]:
        """m and n."""
        return self.weight.shape[0], math.prod(self.weight.shape[1:])

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """``f(x)`` of each example, ``[N, C]``; ValueError where the model gives another shape."""
        outputs = self.model(inputs)
        if outputs.dim() != 2 or len(outputs) != len(inputs):
            raise ValueError(
                f"model must map {len(inputs)} inputs to outputs [{len(inputs)}, C], but gives {tuple(outputs.shape)}."
            )
        return outputs

    def pull(self, inputs: Tensor, cotangents: Tensor) -> Tensor:
        """``mat(J_xᵀ u_k)`` for each example x and each of its cotangents u_k.

        Args:
            inputs: ``[N, ...]``.
            cotangents: ``[N, K, C]``.

        Returns:
            ``[N, K, m, n]``, of the weight's dtype.
        """
        others = {k: v.detach() for k, v in (*self.model.named_parameters(), *self.model.named_buffers())}
        weight = others.pop(self.name)

        def one(x: Tensor, us: Tensor) -> Tensor:
            def output(W: Tensor) -> Tensor:
                return functional_call(self.model, {**others, self.name: W}, (x.unsqueeze(0),)).squeeze(0)

            pull_back = vjp(output, weight)[1]
            return vmap(lambda u: pull_back(u)[0])(us)

        G = vmap(one)(inputs, cotangents)
        return G.detach().reshape(*cotangents.shape[:2], *self.shape)

    def gradients(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The gradient of each example's loss at its own label, ``[N, m, n]``."""
        return self.pull(inputs, self.loss.gradients(self.outputs(inputs), labels).unsqueeze(1)).squeeze(1)

    def signals(self, inputs: Tensor, cotangents: Tensor) -> tuple[Tensor, Tensor]:
        r"""What goes into the layer and what comes back to it: ``mat(Jᵀu_k) = Σ_t b_{k,t} a_tᵀ``.

        t runs over the places that share the weight: tokens of a Linear, positions of a Conv2d, one where none share.

        Args:
            inputs: ``[N, ...]``.
            cotangents: ``[N, K, C]``.

        Returns:
            ``(a [N, T, n], b [N, K, T, m])``.

        Raises:
            ValueError: the weight belongs neither to a Linear nor to a Conv2d of one group with padding by zeros, or
                the model calls its module more than once.
        """
        module = self.model.get_submodule(self.name.rpartition(".")[0])
        if not (isinstance(module, nn.Linear) or _is_plain_convolution(module)):
            raise ValueError(
                f"{self.name} must be the weight of a Linear, or of a Conv2d of one group that pads with a number of "
                f"zeros, not of {module}."
            )
        with _watched(module) as seen, torch.enable_grad():
            outputs = self.model(inputs)
        if len(seen) != 1:
            raise ValueError(
                f"{self.name} must be used once by the model, but its module was called {len(seen)} times."
            )
        came, went = seen[0]
        backward = [torch.autograd.grad((outputs * u).sum(), went, retain_graph=True)[0] for u in cotangents.unbind(1)]
        b = torch.stack(backward, 1)
        came = came.detach()
        if isinstance(module, nn.Conv2d):
            assert not isinstance(module.padding, str)
            size = (module.kernel_size[0], module.kernel_size[1])
            a = nn.functional.unfold(came, size, module.dilation, module.padding, module.stride).mT
            return a, b.flatten(3).mT
        # [N, ..., n] and [N, K, ..., m]: whatever stands between is places.
        return came.reshape(len(came), -1, came.shape[-1]), b.reshape(*b.shape[:2], -1, b.shape[-1])


def _is_plain_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether unfold gives what the module multiplies its weight with."""
    plain = isinstance(module, nn.Conv2d) and module.groups == 1
    return plain and module.padding_mode == "zeros" and not isinstance(module.padding, str)


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collects the input and the output of each of a module's calls."""
    seen: list[tuple[Tensor, Tensor]] = []

    def see(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((args[0], output))

    handle = module.register_forward_hook(see)
    try:
        yield seen
    finally:
        handle.remove()
