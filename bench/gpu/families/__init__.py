"""The cases of each family: a module has ``cases(tiny) -> list[Case]``, the most important first."""

import importlib
from types import ModuleType

# In the order in which they are measured, with their shares of the time.
FAMILIES = {
    "factors": 3,
    "inverse_root": 6,
    "eigenbasis": 4,
    "refresh": 3,
    "rearrangement": 3,
    "apply": 2,
}


def module(family: str) -> ModuleType:
    return importlib.import_module(f"bench.gpu.families.{family}")
