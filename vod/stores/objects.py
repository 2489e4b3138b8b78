"""Object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage; told by the usual variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from reeltag.errors import FetchFailed, SourceRefused
from vod.stores.names import shown

if TYPE_CHECKING:  # of the stubs alone
    from obstore.store import ClientConfig, RetryConfig

_VARIABLES: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_REGION, and AWS_ENDPOINT_URL where the store is not "
    "Amazon's; or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, the file of a service account's key; or GOOGLE_SKIP_SIGNATURE=true for a "
    "public bucket",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_KEY instead of the latter; "
    "or AZURE_SKIP_SIGNATURE=true for a public container",
}
_KINDS: Final[dict[str, type[S3Store] | type[GCSStore] | type[AzureStore]]] = {
    "s3": S3Store,
    "gs": GCSStore,
    "az": AzureStore,
}
_NO_CREDENTIALS: Final = (
    *("169.254.169.254", "latest/api/token", "latest/meta-data", "computeMetadata", "TokenRequest"),
    *("MissingAccount", "MissingCredential"),
)
"""In errors of stores that found no variable and asked the cloud that they may run in."""
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL")


@dataclass(frozen=True)
class Place:
    """Where an object lies."""

    scheme: str
    """`s3`, `gs` or `az`."""
    bucket: str
    """Of Azure the container."""
    key: str
    """Empty for all of the bucket."""

    @classmethod
    def of(cls, url: str) -> Place:
        """Of a URL whose form was looked at."""
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        return cls(scheme, bucket, key)

    def url(self, key: str) -> str:
        """Of another object in the bucket."""
        return f"{self.scheme}://{self.bucket}/{key}"

    def store(self, retry_seconds: float = 10.0) -> ObjectStore:
        """The bucket, with what the environment says of it.

        Args:
            retry_seconds: How long the store may take to come back, where it does not answer.

        Raises:
            SourceRefused: The environment does not say enough.
        """
        plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
        options: ClientConfig = {
            "allow_http": plain,
            "connect_timeout": timedelta(seconds=5),
            "read_timeout": timedelta(seconds=30),
            "timeout": timedelta(days=1),  # of a whole file
        }
        retries: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=retry_seconds)}
        with told(self.url(self.key)):
            return _KINDS[self.scheme](self.bucket, client_options=options, retry_config=retries)


@contextmanager
def told(url: str) -> Iterator[None]:
    """Errors of a store in our words.

    Raises:
        SourceRefused: Trying again is of no use.
        FetchFailed: It may be.
    """
    place, name = Place.of(url), shown(url)
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise SourceRefused(f"{name} does not exist", "not_found") from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise SourceRefused(
            f"{name} may not be read with the credentials of this server; set {_VARIABLES[place.scheme]}",
            "no_permission",
        ) from error
    except ValueError as error:
        raise SourceRefused(f"{name} is no key that can be read: {_first_line(error)}") from error
    except BaseError as error:
        text = str(error)
        if any(sign in text for sign in _NO_CREDENTIALS):
            raise SourceRefused(
                f"{name} cannot be read without credentials; set {_VARIABLES[place.scheme]}", "no_credentials"
            ) from error
        if "NoSuchBucket" in text or "ContainerNotFound" in text:
            raise SourceRefused(f"there is no bucket {place.scheme}://{place.bucket}", "not_found") from error
        raise FetchFailed(f"the store of {name} does not do what it should: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Of what a library says, without the queries of addresses, in which tokens travel."""
    words = (str(error).splitlines() or [""])[0][:500].split(" ")
    return shown(" ".join(word.partition("?")[0] for word in words))
