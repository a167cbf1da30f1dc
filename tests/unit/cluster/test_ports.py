"""Free ports."""

import socket

from mrsearch.cluster.ports import free_port, free_ports


def test_ports_asked_for_together_are_different_and_free():
    for _ in range(50):
        ports = free_ports(20, "")
        assert len(set(ports)) == 20
    for port in [*ports, free_port()]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
