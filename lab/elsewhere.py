"""A candidate of a benchmark in a process of its own, with torch's default matrix path.

`my_llm/device.py` chooses the matrix path of a process before torch is loaded, so two paths need two processes. What
others publish runs on the default one: that is how a peer comes to its users, and it belongs into the table beside the
same peer on our path.
"""

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


def elsewhere(make: Callable[..., Callable[..., Any]], *arguments: Any) -> Callable[..., Any]:
    """`make(*arguments)` there; the turn that it returns, here. All of it, and what turns take and say, is pickled."""
    before, (here, there) = os.environ.get("MY_LLM_MATRIX_PATH"), get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(there, make, arguments), daemon=True)
    os.environ["MY_LLM_MATRIX_PATH"] = "default"
    process.start()
    if before is None:
        del os.environ["MY_LLM_MATRIX_PATH"]
    else:
        os.environ["MY_LLM_MATRIX_PATH"] = before
    there.close()

    def turn(*given: Any) -> Any:
        here.send(given)
        return here.recv()

    return turn


def serve(connection: Connection, make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    """A turn for each message, until the other side has gone."""
    from my_llm.device import set_threads

    set_threads(os.cpu_count() or 1)
    turn = make(*arguments)
    while True:
        try:
            connection.send(turn(*connection.recv()))
        except EOFError:
            return
