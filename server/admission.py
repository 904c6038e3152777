"""Who may connect: the origin of a web page, and the bearer token. Pure."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

ANY_ORIGIN = "*"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules. Browsers name the page's origin; other clients send none and are let in.

    With no ``origins``, a page may connect if it comes from this server's own host (any port),
    or from this machine to this machine. That keeps a foreign page in somebody's browser from
    talking to a server that only this browser can reach.
    """

    origins: tuple[str, ...] = ()
    token: str | None = None

    def origin_allowed(self, origin: str | None, host: str | None) -> bool:
        """``origin`` and ``host`` are the request's headers, or None."""
        if origin is None or ANY_ORIGIN in self.origins:
            return True
        if self.origins:
            return origin.lower() in {allowed.lower() for allowed in self.origins}
        page, server = _hostname(origin), _hostname(f"//{host or ''}")
        return page is not None and (page == server or {page, server} <= _LOOPBACK)

    def token_allowed(self, authorization: str | None, query_token: str | None) -> bool:
        """Compare in constant time: the header ``Bearer …``, or else ``?token=``."""
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            given = query_token or ""
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
