"""Compilation of the hot loops, with a cache for the next process.

Numba compiles a decorated function when its module is imported and keeps the result beside the
source, in `__pycache__`; a later process loads it in milliseconds. An image therefore imports the
module once while it is built. At run time its file system may be read-only and the user another:
numba then refuses the cache for want of a place to write, although all that is needed is to read.
`Prebuilt` lets it read. Where nothing fits, the function is compiled in memory: slow, never wrong.

Loops are compiled for one of two `LEVELS` of processors, not for the one at hand: an image has both
and runs anywhere, and neither rounds otherwise than the other. `NUMBA_CPU_NAME` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite.binding import get_host_cpu_features
from numba.core import config
from numba.core.caching import FunctionCache, InTreeCacheLocator
from numba.core.runtime import rtsys

Function = TypeVar("Function", bound=Callable[..., Any])

# In numba's order, with ours behind those that may also write. They are named, because numba
# takes locators by name only.
LOCATORS = (
    "UserProvidedCacheLocator",
    "InTreeCacheLocator",
    f"{__name__}.Prebuilt",
    "UserWideCacheLocator",
)


# The fastest first: processors since 2013 with what they have, and any.
LEVELS = {"x86-64-v3": {"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}, "generic": set()}


def _choose_level() -> None:
    """Let numba compile for the fastest level that this processor has, unless one was chosen."""
    if config.CPU_NAME is None:
        found = get_host_cpu_features()
        has = {name for name, there in found.items() if there}
        config.CPU_NAME = next(level for level, needed in LEVELS.items() if needed <= has)
    if config.CPU_NAME in LEVELS:
        config.CPU_FEATURES = ""  # else those of the processor at hand are added


_choose_level()


class Prebuilt(InTreeCacheLocator):  # type: ignore[misc]  # numba carries no types
    """The cache beside the source, for a process that may read it but not write there."""

    def ensure_cache_path(self) -> None:
        """Raise OSError, which numba takes as `not here`, unless something was compiled there."""
        source = Path(self._py_file)
        if not any(Path(self.get_cache_path()).glob(f"{source.stem}.*.nbi")):
            raise FileNotFoundError(self.get_cache_path())


class Ready(FunctionCache):  # type: ignore[misc]
    """Numba's cache, sooner: it does not get a compiler ready to load what is compiled already.

    Numba imports all that it can compile, and SciPy's linear algebra with it, before it looks
    whether it has to; its compiler does so again for itself when it comes to that.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None where the cache has none that fits."""
        rtsys.initialize(target_context)  # the memory that machine code asks for
        return self._load_overload(sig, target_context)


@contextmanager
def _locators() -> Iterator[None]:
    """Let numba look in `LOCATORS` for the functions decorated meanwhile."""
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = ",".join(LOCATORS)
    try:
        yield
    finally:
        config.CACHE_LOCATOR_CLASSES = before


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Compile a function for one signature, now, from the cache where it is there."""

    def decorate(function: Function) -> Function:
        dispatcher = _with_cache(function)
        with suppress(OSError):  # the machine code is there already when only saving it fails
            dispatcher.compile(signature)
        if not dispatcher.signatures:  # the cache could not even be read
            dispatcher = numba.njit(nogil=True)(function)
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        compiled_function: Function = dispatcher
        return compiled_function

    return decorate


def _with_cache(function: Function) -> Any:
    """Numba's wrapper of a function, with a cache where one can be had."""
    dispatcher = numba.njit(nogil=True)(function)
    with _locators(), suppress(RuntimeError):  # numba's word for `nowhere to read or write`
        dispatcher._cache = Ready(function)  # as its `enable_caching` does
    return dispatcher


def inlined(function: Function) -> Function:
    """Compile a function as part of the compiled functions that call it."""
    return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]
