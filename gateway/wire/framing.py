"""What a request's head must look like, beyond what the parser holds: two servers must never read it differently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from httptools import parse_url

from reeltag.errors import InvalidRequest

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values, in the order of the request."""

_HOST: Final = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d*)?", re.ASCII)
"""`uri-host [ ":" port ]` of RFC 9110, without checking that an address is one."""


def check(method: bytes, target: bytes, version: str, headers: Headers) -> None:
    """Hold a request's head against RFC 9112.

    Raises:
        InvalidRequest: A version other than 1.0 and 1.1; CONNECT; a transfer coding other than `chunked`, or one in
            HTTP/1.0; a Host that is missing, there twice, malformed, or not that of an absolute target.
    """
    if version not in ("1.0", "1.1"):
        raise InvalidRequest(f"HTTP/{version} is not spoken here; use HTTP/1.1")
    if method == b"CONNECT":
        raise InvalidRequest("CONNECT is for proxies, and this is none")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
        raise InvalidRequest("the only Transfer-Encoding that is taken is `chunked`, in HTTP/1.1")
    hosts = [value.strip() for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise InvalidRequest(f"a request has one Host header; this one has {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise InvalidRequest("the Host header is not of the form NAME or NAME:PORT")
    if not target.startswith((b"/", b"*")) and hosts and _authority(target) != hosts[0].lower():
        raise InvalidRequest("the request's target is of another host than its Host header")


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The head again, without what asks for another protocol: a server may ignore that (RFC 9110, 7.8)."""
    kept = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), b"".join(kept))


def _authority(target: bytes) -> bytes:
    host, port = (url := parse_url(target)).host, url.port
    if b":" in host:
        host = b"[%b]" % host
    return bytes(host.lower() if port in (None, 0) else b"%b:%d" % (host.lower(), port))
