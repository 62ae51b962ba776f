"""kronla: the linear algebra kernels of Kronecker-factored preconditioning, batched, ragged, a status per matrix.

Families: factors, inverse_root, eigenbasis, rearrangement, apply. Optimizers: :mod:`kronla.optim`.
"""

from kronla import optim
from kronla.ops.apply import foreach_kron_apply, foreach_mode_apply, kron_apply, mode_apply
from kronla.ops.eigenbasis import (
    Eigenbasis,
    Orthonormal,
    eigh,
    foreach_eigh,
    foreach_update_eigenbasis,
    off_diagonal_ratio,
    orthonormalize,
    update_eigenbasis,
)
from kronla.ops.factors import (
    foreach_update_factors_,
    foreach_update_mode_factors_,
    kron_power_step,
    update_factors_,
    update_mode_factors_,
)
from kronla.ops.inverse_root import InverseRoot, foreach_inverse_root, inverse_root
from kronla.ops.rearrangement import (
    NearestKronecker,
    nearest_kronecker,
    nearest_kronecker_from_gradients,
    rearrange,
    rearranged_matvec,
    rearranged_rmatvec,
    unrearrange,
)

__version__ = "0.1.0"
__all__ = [
    "Eigenbasis",
    "InverseRoot",
    "NearestKronecker",
    "Orthonormal",
    "eigh",
    "foreach_eigh",
    "foreach_inverse_root",
    "foreach_kron_apply",
    "foreach_mode_apply",
    "foreach_update_eigenbasis",
    "foreach_update_factors_",
    "foreach_update_mode_factors_",
    "inverse_root",
    "kron_apply",
    "kron_power_step",
    "mode_apply",
    "nearest_kronecker",
    "nearest_kronecker_from_gradients",
    "off_diagonal_ratio",
    "optim",
    "orthonormalize",
    "rearrange",
    "rearranged_matvec",
    "rearranged_rmatvec",
    "unrearrange",
    "update_eigenbasis",
    "update_factors_",
    "update_mode_factors_",
]
