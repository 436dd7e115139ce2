"""The Jacobian of an encoder with respect to its input: exact, differentiable, within a memory budget.

The package can be called: ``caelab.jacobian(encode, inputs)`` is :func:`caelab.jacobian.service.jacobian`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This module, as a function: the promised name and the package share one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from caelab.jacobian.service import jacobian

        return jacobian(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
