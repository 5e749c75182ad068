"""Free loopback ports for the servers of the tests."""

import secrets
import socket
from collections.abc import Iterator
from itertools import islice

HOST = "127.0.0.1"
# Below the range from which systems take ports for outgoing connections: while a server is down, a
# client that reconnects to such a port can connect to itself and hold it against the server's return.
PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return free ports, searched from a random one so that two servers rarely try the same ones."""
    return list(islice(_free_ports(start=secrets.randbelow(len(PORTS))), count))


def _free_ports(start: int) -> Iterator[int]:
    for step in range(len(PORTS)):
        port = PORTS[(start + step) % len(PORTS)]
        with socket.socket() as probe:
            # As the servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        yield port
