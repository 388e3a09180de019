"""Steps that overlap: while one batch is in the network, the next is decoded and the last packed.

Everything waits in bounded queues, so memory does not grow with the number of cases. Steps that
release Python's lock (decoding, resampling, numpy, a runtime) really run at the same time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapped(
    step: Callable[[Item], Result], items: Iterator[Item], workers: int, *, ahead: int
) -> Generator[Result]:
    """`step` of each item, in the items' order, worked out in threads while the caller is busy.

    The items are drawn in the caller's thread. Steps are chained by drawing one from the other; an
    error in any of them, or a caller that stops early, ends them all.

    Args:
        workers: threads.
        ahead: how many results may be under way or wait, beside the one that is handed out.

    Raises:
        whatever `step` or `items` raise, once; results that still wait are then lost.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="step")
    try:
        for item in items:
            waiting.append(pool.submit(step, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
