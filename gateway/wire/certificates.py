"""The gateway's certificate: checked before it is used, and read again when its files change."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import grpc

from reeltag.errors import InvalidOption
from reeltag.settings import Settings

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: with forward secrecy and authenticated encryption; all of TLS 1.3 are so."""
_SOON_SECONDS: Final = 14 * 86_400
"""From so long before its end on the log says when a certificate ends."""
_END_OF_CERTIFICATE: Final = "-----END CERTIFICATE-----"
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pair:
    """What was read at one time."""

    context: ssl.SSLContext
    grpc: grpc.ServerCertificateConfiguration
    ends: str
    """Such as `Nov 29 14:43:42 2026 GMT`."""


class Certificates:
    """A certificate with its key, read again at the first connection after one of the files has changed.

    Args:
        cert: PEM file; see `Settings.tls_cert`.
        key: PEM file; see `Settings.tls_key`.

    Raises:
        InvalidOption: A file cannot be read, is none of its kind, or needs a password; they do not belong together;
            the certificate is not for servers, has ended or has not begun.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._files = (cert, key)
        self._seen = self._state()
        self._pair = _read(cert, key)

    @property
    def context(self) -> ssl.SSLContext:
        """For a new connection over HTTP."""
        self._refresh()
        return self._pair.context

    def warn_if_it_ends_soon(self) -> None:
        """Say so in the log."""
        if ssl.cert_time_to_seconds(self._pair.ends) - time.time() < _SOON_SECONDS:
            _log.warning("the certificate in %s is good until %s; renew it", self._files[0], self._pair.ends)

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server, which asks for each new connection whether there is another certificate."""
        given = self._pair.grpc

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            self._refresh()
            is_new, given = self._pair.grpc is not given, self._pair.grpc
            return given if is_new else None

        # Its type leaves out that None is for "the same as before", which its documentation has.
        return grpc.dynamic_ssl_server_credentials(
            given, cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch)
        )

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_state_of(path) for path in self._files)

    def _refresh(self) -> None:
        """Take what the files hold now, if it is good; otherwise go on with what there was."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state  # also where it is of no use: it is said once, and tried again at the next change
        try:
            self._pair = _read(*self._files)
            _log.warning("the certificate in %s was read anew; it is good until %s", self._files[0], self._pair.ends)
        except InvalidOption as error:
            _log.error("the certificate was not exchanged: %s", error)


def certificates_of(settings: Settings) -> Certificates | None:
    """The certificate that the settings name, if they do; raises as `Certificates`."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificates(settings.tls_cert, settings.tls_key)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(cert: Path, key: Path) -> _Pair:
    chain, secret = _bytes(cert, "certificate"), _bytes(key, "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION

    def refuse() -> str:
        raise InvalidOption(f"the key in {key} is encrypted; decrypt it first: openssl pkey -in {key} -out FILE")

    try:
        context.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        raise InvalidOption(_problem_of(error, cert, key)) from error
    ends = _checked_end(context, cert, chain.decode("ascii", "replace"))
    return _Pair(context, grpc.ssl_server_certificate_configuration([(secret, chain)]), ends)


def _bytes(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidOption(f"the {kind} {path} cannot be read ({error.strerror}); name a PEM file") from error


def _problem_of(error: ssl.SSLError, cert: Path, key: Path) -> str:
    reason = error.reason or str(error)
    if "MISMATCH" in reason:
        return f"the key in {key} does not belong to the certificate in {cert}, which must come first in its file"
    return f"no certificate with its key can be read from {cert} and {key} ({reason}); both must be PEM files"


def _checked_end(context: ssl.SSLContext, cert: Path, text: str) -> str:
    """When the certificate ends, after we greeted ourselves with it, in memory: a client that trusts it must take it.

    The library tells its dates in no other way, and they must be known before clients find out.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # we do not know under which names clients come
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # its authority need not be here
    first, end, _ = text.partition(_END_OF_CERTIFICATE)
    client.load_verify_locations(cadata=first[first.index("-----BEGIN") :] + end)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        context.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for side in sides * 2:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        found = sides[0].getpeercert()
    except ssl.SSLCertVerificationError as error:
        raise InvalidOption(f"clients would refuse the certificate in {cert}: {error.verify_message}") from error
    if not found:
        raise InvalidOption(f"the certificate in {cert} is of no use for TLS 1.2 or 1.3")
    return str(found["notAfter"])
