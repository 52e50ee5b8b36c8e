"""Which proxy the environment names for the coordinator."""

from __future__ import annotations

import pytest

from clients.node.proxy import Proxy, proxy_for
from federation.errors import InputError

NAMES = ("https_proxy", "all_proxy", "no_proxy", "http_proxy")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, Proxy("proxy", 3128, False)),
        ({"https_proxy": "proxy:3128"}, Proxy("proxy", 3128, False)),
        ({"HTTPS_PROXY": "https://proxy.org:8080"}, Proxy("proxy.org", 8080, True)),
        ({"HTTPS_PROXY": "https://proxy.org"}, Proxy("proxy.org", 443, True)),
        ({"ALL_PROXY": "http://[::1]:1"}, Proxy("::1", 1, False)),
        ({"HTTPS_PROXY": "http://me:p%40ss@proxy:1"}, Proxy("proxy", 1, False, ("me", "p@ss"))),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_environment_names_the_proxy(
    environment: dict[str, str], expected: Proxy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for("fed.example.org:8443")
    assert found == expected
    assert "p@ss" not in repr(found) and (found is None or "p@ss" not in found.url)


@pytest.mark.parametrize(
    ("exceptions", "address", "is_direct"),
    [
        ("example.org", "fed.example.org:8443", True),
        (".example.org", "fed.example.org:8443", True),
        ("*.example.org", "fed.example.org:8443", True),
        ("EXAMPLE.org, other", "fed.example.org.:8443", True),
        ("example.org:8443", "fed.example.org:8443", True),
        ("example.org:443", "fed.example.org:8443", False),
        ("xample.org", "fed.example.org:8443", False),
        ("*", "fed.example.org:8443", True),
        ("10.0.0.0/8", "10.1.2.3:8443", True),
        ("10.0.0.0/8", "11.1.2.3:8443", False),
        ("10.1.2.3", "10.1.2.3:8443", True),
        ("::1", "[::1]:8443", True),
        ("", "fed.example.org:8443", False),
        (",", "fed.example.org:8443", False),
    ],
)
def test_exceptions_are_names_domains_addresses_and_networks(
    exceptions: str, address: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (proxy_for(address) is None) is is_direct


@pytest.mark.parametrize(
    "url", ["socks5://me:secret@proxy:1", "http://me:secret@proxy:port", "http://me:secret@"]
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(InputError, match=r"HTTPS_PROXY of the environment .*; write HTTPS_PROXY=") as refused:
        proxy_for("fed.example.org:8443")
    assert "secret" not in str(refused.value)
