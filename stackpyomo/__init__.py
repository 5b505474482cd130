"""stackpyomo: incentive design in Stackelberg games, on Pyomo.

    game → plan → incentive → report

Write the leader and the followers as ordinary Pyomo models; get back the plan the leader would like, the affine
incentive that makes the followers want it, and a proof that they do.
"""

import importlib
from typing import Any

import lazy_loader
from pyomo.core import TransformationFactory

from .version import __version__ as __version__

_FOLDERS = (
    *("analysis", "bilevel", "core", "derivatives", "errors", "games"),
    *("incentives", "plans", "reporting", "solvers", "studies", "verification"),
)

# What is public stands in __init__.pyi; every name is imported when it is first asked for.
_named, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in _names if name != "__version__"]


def __getattr__(name: str) -> Any:
    if name in _FOLDERS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _named(name)


def __dir__() -> list[str]:
    return [*__all__, *_FOLDERS, "__version__"]


def _kkt(**options: Any) -> Any:
    """The transformation itself, once somebody asks Pyomo for it."""
    from .bilevel import KKT

    return KKT(**options)


TransformationFactory.register("stackpyomo.kkt", doc="Replace followers by their KKT conditions, with responses.")(_kkt)
