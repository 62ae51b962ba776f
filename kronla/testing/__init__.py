"""What tests and the command line compare with: dense float64 references, and matrices by spectrum."""

from kronla.testing import matrices, reference

__all__ = ["matrices", "reference"]
