"""An end in bounded time: what waits in a library's C++ cannot be interrupted by an exception."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@contextlib.contextmanager
def ends_within(seconds: float, say: Callable[[], object], exit_code: int) -> Iterator[None]:
    """End this process where the block has not been left so long after one of `SIGNALS`.

    Python runs handlers of signals, and so raises KeyboardInterrupt, between two of its own instructions; a thread
    hears of a signal at once. Outside of the main thread, which alone gets signals, nothing is done.

    Args:
        seconds: from the signal to the end.
        say: called before the end, in another thread.
        exit_code: of the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    left = threading.Event()

    def watch() -> None:
        while numbers := heard.recv(64):
            if SIGNALS.intersection(numbers):
                if not left.wait(seconds):
                    say()
                    os._exit(exit_code)
                return

    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        told.close()
        thread.join()
        heard.close()
