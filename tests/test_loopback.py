"""Who counts as being on this machine."""

from __future__ import annotations

import pytest

from voxyray.loopback import is_from_here


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"])
def test_this_machine(peer: str, host: str) -> None:
    assert is_from_here(peer, {"host": host})


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.1", {"host": "localhost"}),
        ("::ffff:10.0.0.1", {"host": "localhost"}),
        ("", {"host": "localhost"}),
        ("unix:", {"host": "localhost"}),
        ("127.0.0.1", {}),
        ("127.0.0.1", {"host": "evil.example"}),
        ("127.0.0.1", {"host": "localhost.evil.example"}),
        ("127.0.0.1", {"host": "["}),
        ("127.0.0.1", {"host": "[::1"}),
        *[
            ("127.0.0.1", {"host": "localhost", name: "1"})
            for name in ("forwarded", "via", "x-forwarded-for", "x-forwarded-host")
        ],
        *[
            ("127.0.0.1", {"host": "localhost", name: "1"})
            for name in ("x-forwarded-proto", "x-real-ip", "cf-connecting-ip")
        ],
    ],
)
def test_anybody_else(peer: str, headers: dict[str, str]) -> None:
    assert not is_from_here(peer, headers)
