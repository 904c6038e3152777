from __future__ import annotations

import pytest

from server.admission import Admission


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "example.org", True),
        ("https://example.org", "example.org", True),
        ("http://example.org:3000", "example.org:8000", True),
        ("http://localhost:3000", "127.0.0.1:8000", True),
        ("http://[::1]:3000", "localhost:8000", True),
        ("https://evil.org", "localhost:8000", False),
        ("https://example.org.evil.org", "example.org", False),
        ("null", "localhost:8000", False),
        ("http://[broken", "localhost:8000", False),
        ("https://example.org", None, False),
    ],
)
def test_by_default_pages_of_the_same_host_may_connect(
    origin: str | None, host: str | None, allowed: bool
) -> None:
    assert Admission().origin_allowed(origin, host) is allowed


def test_a_list_replaces_the_default_and_a_star_allows_all() -> None:
    listed = Admission(origins=("https://app.example",))
    assert listed.origin_allowed("https://APP.example", "other")
    assert not listed.origin_allowed("https://other", "other")
    assert listed.origin_allowed(None, "other")
    assert Admission(origins=("*",)).origin_allowed("https://evil.org", "other")


@pytest.mark.parametrize(
    ("header", "query", "allowed"),
    [
        ("Bearer secret", None, True),
        ("bearer secret", None, True),
        (None, "secret", True),
        (None, None, False),
        ("Bearer wrong", "secret", False),
        ("Basic secret", None, False),
        ("Bearer ünïcode", None, False),
        (None, "", False),
    ],
)
def test_the_token_comes_by_header_or_query(
    header: str | None, query: str | None, allowed: bool
) -> None:
    assert Admission(token="secret").token_allowed(header, query) is allowed
    assert Admission().token_allowed(header, query)
