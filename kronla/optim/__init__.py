"""Reference optimizers built from the public operations alone.

:class:`Shampoo`, :class:`Shampoo2` and :class:`OptimalKronecker` go through inverse roots, :class:`EShampoo` and
:class:`SOAP` through eigenbases. One gradient's way from ``step()`` to the parameter, and the file of each piece:

1. ``tensors``   how a parameter is seen: modes, and blocks of at most ``max_dim``; or elementwise;
2. ``factors``   the factors that a block keeps, ``L ← βL + (1−β)GGᵀ`` and ``R ← βR + (1−β)GᵀG``;
3. ``roots``     how factors precondition through inverse roots;
   ``bases``     how they do so through an eigenbasis, and ``rotated`` Adam in it;
4. ``moments``   running averages, and Adam's direction out of two of them;
5. ``grafting``  whose length the direction takes;
6. ``optimizer`` torch.optim's manners: parameter groups, state, ``step()``, saving and loading;
   ``health``    what is counted on the way, and the alarm after failures in a row.

The public classes put these together in a few lines each.
"""

from kronla.optim.eshampoo import EShampoo
from kronla.optim.health import FactorDiagnostics, ParameterMemory
from kronla.optim.optimal_kronecker import OptimalKronecker
from kronla.optim.shampoo import Shampoo
from kronla.optim.shampoo2 import Shampoo2
from kronla.optim.soap import SOAP

__all__ = ["SOAP", "EShampoo", "FactorDiagnostics", "OptimalKronecker", "ParameterMemory", "Shampoo", "Shampoo2"]
