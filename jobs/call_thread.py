"""Calls to Ray that may wait for its head, made in a thread of their own.

Starting an actor, exporting a function and removing a placement group wait until the head answers, for a minute and
more if it has died. In the driver's loop such a wait would hold up signals, heartbeats and the check of Ray itself.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class CallThread:
    """Makes calls one after the other, in the order in which they come.

    The thread is a daemon, unlike those of asyncio.to_thread: a call that never returns must not keep the process.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="calls to Ray", daemon=True).start()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of function(*args). Raises what it raises."""
        future: Future[Any] = Future()
        self._calls.put((future, function, args))
        return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            future, function, args = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
