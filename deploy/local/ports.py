"""Allocation of TCP ports on loopback, safe against other stacks that start at the same moment."""

import errno
import random
import socket
from contextlib import suppress

from deploy.local.errors import StackError

# Below the ranges from which kernels take ports for outgoing connections (Linux 32768+, macOS 49152+).
_FREE_RANGE = range(20_000, 32_000)


class Ports:
    """Allocates ports and holds them until `release`.

    A port is held by binding the UDP port of the same number: no process here uses UDP, while a TCP socket would block
    the server that will listen. gRPC listens with SO_REUSEPORT, so two stacks with the same number would not fail but
    share their connections.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def fixed(self, port: int, *, variable: str) -> int:
        """Return `port`, which the user set by `variable`; 0 stands for any. Raises StackError when it is taken."""
        if port == 0:
            return self.free()
        if not _is_free(port):
            raise StackError(f"port {port} is taken by another process: set {variable} to a free one")
        return port

    def movable(self, preferred: int) -> int:
        """Return `preferred`, or a free port if it is taken."""
        return preferred if self._take(preferred) else self.free()

    def free(self) -> int:
        """Return a free port."""
        for port in random.SystemRandom().sample(_FREE_RANGE, 200):
            if self._take(port):
                return port
        raise StackError("no free port found on loopback")

    def release(self) -> None:
        """Release all allocated ports."""
        while self._held:
            self._held.pop().close()

    def _take(self, port: int) -> bool:
        if not _is_free(port):
            return False
        hold = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            hold.bind(("127.0.0.1", port))
        except OSError:
            hold.close()
            return False
        self._held.append(hold)
        return True


def _is_free(port: int) -> bool:
    return _can_listen(socket.AF_INET, "127.0.0.1", port) and _can_listen(socket.AF_INET6, "::1", port)


def _can_listen(family: socket.AddressFamily, host: str, port: int) -> bool:
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed is free
        try:
            probe.bind((host, port))
        except OSError as error:
            return family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL
        return True
    return family == socket.AF_INET6  # a machine without IPv6
