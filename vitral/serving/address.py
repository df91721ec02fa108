"""The address that a server listens on. Nothing heavy is imported, so a port that is taken is said at once."""

from __future__ import annotations

import errno
import ipaddress
import socket

from vitral.errors import UnavailableError, UsageError


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, that does not listen yet.

    Raises:
        UnavailableError: the port is taken, or not for us. UsageError: no such address here.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: there is no such address ({error}).") from error
    # asyncio sends small parts of answers at once only on sockets that say they are TCP's; on others the second part
    # waits for the client to acknowledge the first, which takes it 40 ms.
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UnavailableError(
                f"port {port} is taken: choose another with --port, or --port 0 for a free one."
            ) from error
        if error.errno == errno.EACCES:
            raise UnavailableError(f"port {port} is kept for the system: choose one above 1023 with --port.") from error
        raise UsageError(f"--host {host}: this machine has no such address ({error.strerror}).") from error
    return bound


def is_local(host: str) -> bool:
    """Whether an address that is listened on can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def as_url(host: str, bound: socket.socket) -> str:
    """How a browser writes it."""
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}/"
