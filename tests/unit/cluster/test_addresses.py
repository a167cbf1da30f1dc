"""The address that a node announces is one that other nodes can use."""

import socket
from types import SimpleNamespace

import psutil
import pytest

from mrsearch.cluster.addresses import NETWORK, own_address
from mrsearch.cluster.slurm import setup_lines
from mrsearch.config.site import Site
from mrsearch.retrieval.service.process import announced

INTERFACES = {
    "lo": ["127.0.0.1", "::1"],
    "eth0": ["192.168.7.4", "fe80::1%eth0"],
    "ib0": ["fd00::9", "10.1.2.3"],
    "v6": ["2001:db8::5"],
}


@pytest.fixture
def host(monkeypatch):
    """Sets the names of this host and what they resolve to."""

    def setup(slurm, hostname, resolved):
        def lookup(name, *_, **__):
            if name not in resolved:
                raise socket.gaierror(-2, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in resolved[name]]

        monkeypatch.delenv(NETWORK, raising=False)
        monkeypatch.delenv("SLURMD_NODENAME", raising=False)
        if slurm:
            monkeypatch.setenv("SLURMD_NODENAME", slurm)
        monkeypatch.setattr(socket, "gethostname", lambda: hostname)
        monkeypatch.setattr(socket, "getfqdn", lambda *_: "localhost")
        monkeypatch.setattr(socket, "getaddrinfo", lookup)

    def addresses():
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return {
            name: [SimpleNamespace(family=families[":" in address], address=address) for address in entries]
            for name, entries in INTERFACES.items()
        }

    monkeypatch.setattr(psutil, "net_if_addrs", addresses)
    return setup


def test_slurm_s_name_comes_first_then_the_host_s(host):
    names = {"n1": ["10.1.2.3"], "box": ["192.168.7.4"]}
    host("n1", "box", names)
    assert own_address() == own_address("") == announced("0.0.0.0") == announced("::") == "n1"
    host(None, "box", names)
    assert own_address() == "box"
    host("n1", "box", names | {"n1": ["127.0.1.1"]})
    assert own_address() == "box"
    host("unknown", "box", names)
    assert own_address() == "box"


@pytest.mark.parametrize(
    "resolved", [{"box": ["127.0.0.1"]}, {"box": ["127.0.1.1"]}, {"box": ["::1"]}, {"box": ["10.1.2.3", "::1"]}, {}]
)
def test_a_name_that_stands_for_loopback_is_refused(host, resolved):
    host("box", "box", resolved)
    with pytest.raises(ValueError, match=r"box (resolves to|does not resolve).*`network`.*192\.168\.7\.4 \(eth0\)"):
        announced("0.0.0.0")
    assert announced("127.0.0.1") == "127.0.0.1" and announced("::1") == "[::1]", "loopback was asked for"


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("ib0", "10.1.2.3"),
        ("eth0", "192.168.7.4"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("192.168.7.4", "192.168.7.4"),
        ("fd00::/8", "fd00::9"),
        ("v6", "2001:db8::5"),
    ],
)
def test_the_site_s_network_chooses(host, network, address, monkeypatch):
    host("box", "box", {"box": ["127.0.0.1"]})
    assert own_address(network) == address
    monkeypatch.setenv(NETWORK, network)
    assert announced("0.0.0.0") == (f"[{address}]" if ":" in address else address)


@pytest.mark.parametrize("network", ["lo", "127.0.0.0/8", "::1", "eth9", "172.16.0.0/12", "not an address", "10.1.2.4"])
def test_a_network_that_this_node_lacks_or_that_is_loopback_is_refused(host, network):
    host("box", "box", {"box": ["10.1.2.3"]})
    with pytest.raises(ValueError, match="other nodes cannot reach it there; this node has 192"):
        own_address(network)


def test_jobs_of_a_site_know_its_network():
    site = Site(account=None, partitions={"p": {"cores": 1, "mem_mb": 1}}, partition="p", network="10.1.0.0/16")
    assert setup_lines(site) == ["set -e", f"export {NETWORK}=10.1.0.0/16"]
