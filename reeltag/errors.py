"""Every error that reeltag raises on purpose.

```
ReeltagError                     500
├── InputError                   400  the user's mistake: what was wrong and what would be right
│   ├── ImageRejected            400, 413, 415, 422, 500 or 504 by its code (see frames.ImageError)
│   ├── UnknownTask              422
│   ├── InvalidOption            422
│   ├── UnsupportedMediaType     415
│   ├── NotAcceptable            406
│   ├── UrlNotAllowed            403  an address that nothing is fetched from
│   ├── FetchFailed              422  an address that gave nothing
│   ├── BodyTooLarge             413
│   ├── Unauthorized             401  a key that is missing, unknown or revoked
│   ├── InvalidRequest           400  what was sent is not HTTP/1.1
│   ├── RequestTimeout           408  the client sent too slowly
│   ├── ForeignHost              421  a Host that is not on the allow-list
│   ├── HeadersTooLarge          431
│   ├── UnknownModel             404
│   ├── SourceRefused            422  a video's source that is not taken or not there, by its code
│   ├── VideoError               422  a video that cannot be tagged
│   │   └── NotAsPlanned         422  it cannot be tagged in segments, but perhaps in one go
│   ├── JobNotFound              404  no such job, or another tenant's
│   ├── JobConflict              409  what a job's state forbids
│   ├── IdempotencyMismatch      422  a key that was used for another submission
│   ├── UploadNotFound           404  no such upload, another tenant's, or one whose time is over
│   ├── UploadConflict           409  bytes that do not go on where the upload ends
│   ├── UnknownProtocol          412  a version of a protocol that is not spoken
│   └── OutputError              400  a folder or file that cannot be written
├── ServiceError                 503  worth trying again
│   ├── TritonUnavailable        503
│   │   └── BackendLost          503  a backend of it died or lost step
│   ├── ModelUnavailable         503  Triton runs without the model
│   ├── OutOfSharedMemory        503  Triton's /dev/shm is full
│   ├── OutOfGpuMemory           503  the GPU's memory is full
│   ├── StorageFull              503  a disk that downloads or results are written to is full
│   ├── TooManyConnections       503
│   ├── Overloaded               429
│   │   └── TooManyJobs          429  as much is queued as may be
│   ├── DatabaseAway             503  the jobs' database cannot be reached
│   └── DeadlineExceeded         504
├── NetworkReplaced              503  to be asked anew: another network answers now
├── NotOnGpu                     500  a GPU cannot decode a video that the CPU may decode
├── StaleRecord                  500  another version of reeltag, or another network, made a segment's record
├── AccuracyLost                 500  an artefact is less right than allowed: it is not published
├── ModelRejected                500  a running server cannot serve what is new: it serves what it did before
└── SetupError                   500  this machine or installation lacks something
    ├── EmbeddedUnavailable      500
    ├── PortInUse                500
    └── ModelRepositoryError     500
```
"""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import ClassVar, Final, TypeVar

E = TypeVar("E", bound="ReeltagError")


class ReeltagError(Exception):
    """Base of all; its text is written for the user and may be shown as it is, to clients as `public_text`."""

    status: ClassVar[int] = 500
    """HTTP status."""
    grpc_code: ClassVar[str] = "INTERNAL"
    """Name of the `grpc.StatusCode`."""
    retry_after_seconds: int | None = None
    """Value of the `Retry-After` header, where trying again makes sense."""
    _public_text: str = ""

    @property
    def code(self) -> str:
        """Stable machine-readable name, such as `unknown_task`."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")

    @property
    def http_status(self) -> int:
        """HTTP status of this very error."""
        return self.status

    @property
    def public_text(self) -> str:
        """What a client of the gateway is told: without where Triton is, which is for the log and the operator."""
        return self._public_text or str(self)

    def told_as(self: E, text: str) -> E:
        """This error, of which clients of the gateway are told no more than the given text."""
        self._public_text = text
        return self

    @cached_property
    def reference(self) -> str:
        """Id under which a log has this very error, where its text is not for everybody."""
        return uuid.uuid4().hex[:12]


class InputError(ReeltagError):
    """The user's mistake."""

    status = 400
    grpc_code = "INVALID_ARGUMENT"


_IMAGE_STATUS: Final = {
    "empty": 400,
    "not_an_image": 415,
    "truncated": 422,
    "too_many_pixels": 413,
    "too_costly": 422,
    "deadline_exceeded": 504,
    "internal": 500,
}


class ImageRejected(InputError):
    """An image that cannot be decoded; `code` is that of `frames.ImageError`."""

    def __init__(self, image_code: str, message: str) -> None:
        super().__init__(message)
        self.image_code = image_code

    @property
    def code(self) -> str:
        """That of `frames.ImageError`; or `deadline_exceeded`, or `internal` for a defect of ours."""
        return self.image_code

    @property
    def http_status(self) -> int:
        """By the code; 422 for one that is not known."""
        return _IMAGE_STATUS.get(self.image_code, 422)


class UnknownTask(InputError):
    """A task that no served model performs."""

    status = 422


class InvalidOption(InputError):
    """An option outside its range."""

    status = 422


class UnsupportedMediaType(InputError):
    """A Content-Type that the operation does not take."""

    status = 415


class NotAcceptable(InputError):
    """An Accept header that cannot be met."""

    status = 406


class UrlNotAllowed(InputError):
    """A URL that nothing is fetched from."""

    status = 403
    grpc_code = "PERMISSION_DENIED"


class FetchFailed(InputError):
    """A URL that gave nothing, or not in time."""

    status = 422
    grpc_code = "FAILED_PRECONDITION"


class BodyTooLarge(InputError):
    """A request body over the limit; raised while it is read."""

    status = 413
    grpc_code = "RESOURCE_EXHAUSTED"


class Unauthorized(InputError):
    """A key that is missing, unknown or revoked."""

    status = 401
    grpc_code = "UNAUTHENTICATED"


class InvalidRequest(InputError):
    """Bytes that are not HTTP/1.1, or whose framing other servers could read differently."""


class RequestTimeout(InputError):
    """A head or a body that came too slowly."""

    status = 408
    grpc_code = "DEADLINE_EXCEEDED"


class ForeignHost(InputError):
    """A Host header that is not on the allow-list."""

    status = 421


class HeadersTooLarge(InputError):
    """Request line, headers, trailers or chunk sizes beyond their limit."""

    status = 431
    grpc_code = "RESOURCE_EXHAUSTED"


class UnknownModel(InputError):
    """A model name that is neither in the catalogue nor served."""

    status = 404
    grpc_code = "NOT_FOUND"


class SourceRefused(InputError):
    """A source of videos that is not taken, or of which there is nothing.

    Args:
        message: What was wrong, and what would be right.
        source_code: A word that programs can compare: `bad_source`, `outside_roots`, `not_found`, `no_permission`,
            `not_a_file`, `too_large`, `source_changed`, `no_credentials`, `store_failed` or `bad_line`.
    """

    status = 422

    def __init__(self, message: str, source_code: str = "bad_source") -> None:
        super().__init__(message)
        self.source_code = source_code

    @property
    def code(self) -> str:
        """Its own."""
        return self.source_code


class VideoError(InputError):
    """A video that cannot be tagged at all; damage in its middle is a recorded gap instead."""

    status = 422


class NotOnGpu(ReeltagError):
    """A video that a GPU does not decode, or not so that it can be relied on; the CPU may."""


class NotAsPlanned(VideoError):
    """A video whose frames are not those that its packets told: it has to be decoded in one go."""


class JobNotFound(InputError):
    """A job, or a part of one, that is not there; that of another tenant is none."""

    status = 404
    grpc_code = "NOT_FOUND"


class JobConflict(InputError):
    """What the state of a job forbids."""

    status = 409
    grpc_code = "FAILED_PRECONDITION"


class IdempotencyMismatch(InputError):
    """An `Idempotency-Key` that came with another submission before."""

    status = 422
    grpc_code = "FAILED_PRECONDITION"


class UploadNotFound(InputError):
    """An upload that is not there, that is another tenant's, or whose time is over."""

    status = 404
    grpc_code = "NOT_FOUND"


class UploadConflict(InputError):
    """Bytes that do not go on where an upload ends, or that somebody else is sending at this time."""

    status = 409
    grpc_code = "FAILED_PRECONDITION"


class UnknownProtocol(InputError):
    """A version of a protocol that is not spoken here."""

    status = 412
    grpc_code = "FAILED_PRECONDITION"


class OutputError(InputError):
    """A folder or file that cannot be written."""

    grpc_code = "FAILED_PRECONDITION"


class ServiceError(ReeltagError):
    """Not the user's fault and likely to pass; trying again makes sense."""

    status = 503
    grpc_code = "UNAVAILABLE"
    retry_after_seconds: int | None = 2

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        if retry_after_seconds is not None:  # otherwise the kind's own
            self.retry_after_seconds = retry_after_seconds


class TritonUnavailable(ServiceError):
    """Triton cannot be reached or is not ready."""


class BackendLost(TritonUnavailable):
    """A backend of Triton died, or its answers can no longer be told from those to other requests."""

    retry_after_seconds = 5


class ModelUnavailable(ServiceError):
    """Triton runs but does not serve the model."""

    retry_after_seconds = 5


class OutOfSharedMemory(ServiceError):
    """Triton's shared memory, `/dev/shm`, is too small for what is in work."""

    grpc_code = "RESOURCE_EXHAUSTED"


class OutOfGpuMemory(ServiceError):
    """The GPU has too little free memory for what is in work."""

    grpc_code = "RESOURCE_EXHAUSTED"


class StorageFull(ServiceError):
    """A disk that downloads or results are written to is full."""

    grpc_code = "RESOURCE_EXHAUSTED"
    retry_after_seconds = 30


class TooManyConnections(ServiceError):
    """Every connection that may be open is in use."""

    grpc_code = "RESOURCE_EXHAUSTED"


class Overloaded(ServiceError):
    """Too many requests wait already."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    retry_after_seconds = 1


class TooManyJobs(Overloaded):
    """As many videos are queued as may be."""

    retry_after_seconds = 30


class DatabaseAway(ServiceError):
    """The database of the jobs cannot be reached."""

    retry_after_seconds = 5


class DeadlineExceeded(ServiceError):
    """No answer within the allowed time."""

    status = 504
    grpc_code = "DEADLINE_EXCEEDED"


class NetworkReplaced(ReeltagError):
    """Triton serves another network now than the one that was asked.

    Asking that one again is of no use, asking what is served and then that one is.
    """

    status = 503
    grpc_code = "UNAVAILABLE"
    retry_after_seconds = 1


class StaleRecord(ReeltagError):
    """The record of a segment that another version of reeltag wrote: the segment has to be tagged again."""


class AccuracyLost(ReeltagError):
    """An artefact loses more accuracy than allowed, so that it is not published; the text says at which stage."""

    grpc_code = "FAILED_PRECONDITION"


class ModelRejected(ReeltagError):
    """What a running server was to load failed, or answers otherwise than when it was exported; it is not served."""

    grpc_code = "FAILED_PRECONDITION"


class SetupError(ReeltagError):
    """This machine or installation lacks something; the text says what, and how to get it."""

    grpc_code = "FAILED_PRECONDITION"


class EmbeddedUnavailable(SetupError):
    """The embedded Triton server cannot run here, or did not start."""


class PortInUse(SetupError):
    """Another process listens on the port."""


class ModelRepositoryError(SetupError):
    """The model repository is incomplete or cannot be written."""
