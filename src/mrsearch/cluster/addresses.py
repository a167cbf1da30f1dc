"""The address by which other nodes reach this one."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator

import psutil

NETWORK = "MRSEARCH_NETWORK"
"""Environment variable of a site's jobs: the site's `network`."""


def own_address(network: str | None = None) -> str:
    """How other nodes call this one.

    network: an interface (ib0), a network (10.1.0.0/16) or an address of this node; None (or empty) takes the node's
    name from Slurm, or else the host's name. ValueError where that is missing or is loopback, as a host's own name is
    in many hosts files: other nodes would call themselves, and hand the token to whoever listens there.
    """
    if network:
        return _address_in(network)
    names = [name for name in dict.fromkeys((os.environ.get("SLURMD_NODENAME"), socket.gethostname())) if name]
    problems = []
    for name in names:
        try:
            addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError) as error:
            problems.append(f"{name} does not resolve ({error})")
            continue
        if loopback := sorted(address for address in addresses if _is_loopback(address)):
            problems.append(f"{name} resolves to {', '.join(loopback)}")
        else:
            return name
    raise ValueError(
        f"other nodes cannot reach this one by its name: {'; '.join(problems)}. Name an interface, a network or an "
        f"address in the site's key `network`; this node has {_usable_addresses()}"
    )


def _address_in(network: str) -> str:
    addresses = list(_interfaces())
    matching = [address for name, address in addresses if network in (name, address)]
    if not matching:
        try:
            inside = ipaddress.ip_network(network)
        except ValueError:
            inside = None
        matching = [address for _, address in addresses if inside and ipaddress.ip_address(address) in inside]
    usable = sorted((address for address in matching if not _is_loopback(address)), key=lambda item: ":" in item)
    if not usable:
        reason = f"holds loopback only ({', '.join(matching)})" if matching else "is nothing that this node has"
        raise ValueError(
            f"network ({network}) {reason}: other nodes cannot reach it there; this node has {_usable_addresses()}"
        )
    return usable[0]


def _interfaces() -> Iterator[tuple[str, str]]:
    """Interface and address, without the addresses that hold on one link only."""
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address:
                yield name, entry.address


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_loopback or parsed.is_unspecified


def _usable_addresses() -> str:
    usable = [f"{address} ({name})" for name, address in _interfaces() if not _is_loopback(address)]
    return ", ".join(usable) or "no address but loopback"
