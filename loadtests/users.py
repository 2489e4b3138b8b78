"""The users: what they send, and how their answers are checked."""

from __future__ import annotations

import itertools
import time
from typing import Any, Final

import gevent
from locust import FastHttpUser, User, between, constant, task

from loadtests.known import Found, Picture, objects_of, problem
from loadtests.reflected import Reflected
from loadtests.samples import REFUSED
from loadtests.state import State

FORM_IMAGES: Final = 8
STREAM_IMAGES: Final = 64
_TIMEOUT_SECONDS: Final = 60.0
_REFUSALS: Final = (429, 503)
IMAGES_OF: Final = {"REST, form of 8": FORM_IMAGES, "gRPC, 8 images": FORM_IMAGES}
"""Images of a request, by the name that it is counted under; one for the others."""


class _Rest(FastHttpUser):
    abstract = True
    network_timeout = connection_timeout = _TIMEOUT_SECONDS

    def send_one(self) -> None:
        """One image as the body."""
        picture = next(State.pictures)
        self.post("REST, one image", [picture], data=picture.data, headers={"Content-Type": "image/jpeg"})

    def send_form(self) -> None:
        """Eight images as a form."""
        pictures = list(itertools.islice(State.pictures, FORM_IMAGES))
        data, content_type = _form(pictures)
        self.post("REST, form of 8", pictures, data=data, headers={"Content-Type": content_type})

    def post(self, name: str, pictures: list[Picture], **body: Any) -> None:
        """Send pictures and check their answer."""
        path = "/v1/images?tasks=detect"
        headers = {**State.headers, **body.pop("headers", {})}
        with _Answer(self, path, name, headers, body) as answer:
            if answer is None:
                return
            results = answer.json()["results"]
            for picture, result in zip(pictures, results, strict=True):
                found = objects_of(result)
                if fault := problem(picture, result.get("width", 0), result.get("height", 0), found):
                    answer.failure(fault)


class _Answer:
    """One request over REST: counted as failed, as refused, or as answered."""

    def __init__(self, user: _Rest, path: str, name: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        self._request = user.client.post(path, name=name, headers=headers, catch_response=True, **body)
        self._wait = 0.0

    def __enter__(self) -> Any:
        self._response = response = self._request.__enter__()
        if response.status_code == 200:
            return response
        waited = (response.headers or {}).get("Retry-After", "")
        if response.status_code in _REFUSALS and waited.isdigit():
            response.request_meta["name"] += REFUSED
            response.success()
            self._wait = 0.0 if State.is_impatient else float(waited)
        else:
            response.failure(f"status {response.status_code}: {str(response.text)[:200]}")
        return None

    def __exit__(self, *error: Any) -> None:
        self._request.__exit__(*error)
        if self._wait:
            gevent.sleep(self._wait)


def _form(pictures: list[Picture]) -> tuple[bytes, str]:
    """Pictures as a multipart body, and its boundary's Content-Type."""
    boundary = "reeltag-load-test"
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n'
        % (boundary.encode(), picture.name.encode(), picture.data)
        for picture in pictures
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


class RestSingle(_Rest):
    """Sends one image after the other."""

    wait_time = constant(0)

    @task
    def one_image(self) -> None:
        """One request."""
        self.send_one()


class RestForm(_Rest):
    """Sends forms of eight images."""

    wait_time = constant(0)

    @task
    def form(self) -> None:
        """One request."""
        self.send_form()


class MixedRest(_Rest):
    """A person, or a program that works between its requests: mostly single images."""

    wait_time = between(0.2, 1.0)

    @task(4)
    def one_image(self) -> None:
        """One request."""
        self.send_one()

    @task(1)
    def form(self) -> None:
        """One request."""
        self.send_form()


class _Grpc(User):
    abstract = True

    def on_start(self) -> None:
        """Connect."""
        metadata = tuple((name.lower(), value) for name, value in State.headers.items())
        self.calls = Reflected(State.grpc_target, metadata)

    def on_stop(self) -> None:
        """Disconnect."""
        self.calls.close()

    def count(self, name: str, began: float, size: int, error: Exception | None = None) -> None:
        """Tell Locust of one request."""
        is_refused = error is not None and "RetryInfo" in str(_details(error))
        self.environment.events.request.fire(
            request_type="gRPC",
            name=name + REFUSED if is_refused else name,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=size,
            exception=None if is_refused else error,
        )
        if is_refused and not State.is_impatient:
            gevent.sleep(1)


class GrpcUnary(_Grpc):
    """Calls with eight images."""

    wait_time = constant(0)

    @task
    def tag(self) -> None:
        """One call."""
        pictures = list(itertools.islice(State.pictures, FORM_IMAGES))
        began = time.perf_counter()
        try:
            results = self.calls.tag([(picture.name, picture.data) for picture in pictures], _TIMEOUT_SECONDS)
            _check_all(pictures, results)
        except Exception as error:
            self.count("gRPC, 8 images", began, 0, error)
        else:
            self.count("gRPC, 8 images", began, sum(result.ByteSize() for result in results))


class GrpcSingle(_Grpc):
    """Calls with one image."""

    wait_time = constant(0)

    @task
    def tag(self) -> None:
        """One call."""
        picture = next(State.pictures)
        began = time.perf_counter()
        try:
            results = self.calls.tag([(picture.name, picture.data)], _TIMEOUT_SECONDS)
            _check_all([picture], results)
        except Exception as error:
            self.count("gRPC, one image", began, 0, error)
        else:
            self.count("gRPC, one image", began, results[0].ByteSize())


class GrpcStream(_Grpc):
    """Streams of many images; each answer counts as a request."""

    wait_time = constant(0)

    @task
    def tag(self) -> None:
        """One stream."""
        pictures = list(itertools.islice(State.pictures, STREAM_IMAGES))
        began = time.perf_counter()
        try:
            sent = iter([(picture.name, picture.data) for picture in pictures])
            for picture, result in zip(pictures, self.calls.stream(sent, _TIMEOUT_SECONDS), strict=True):
                _check_all([picture], [result])
                self.count("gRPC, image of a stream", began, result.ByteSize())
                began = time.perf_counter()
        except Exception as error:
            self.count("gRPC, image of a stream", began, 0, error)


def _check_all(pictures: list[Picture], results: list[Any]) -> None:
    for picture, result in zip(pictures, results, strict=True):
        if result.error.code:
            raise ValueError(f"{picture.name}: {result.error.code}: {result.error.message}")
        if fault := problem(picture, result.width, result.height, _objects(result)):
            raise ValueError(fault)


def _objects(result: Any) -> list[Found]:
    return [(one.label, one.score, (one.box.x1, one.box.y1, one.box.x2, one.box.y2)) for one in result.detections]


def _details(error: Exception) -> bytes:
    trailing: Any = getattr(error, "trailing_metadata", lambda: ())() or ()
    return bytes(dict(trailing).get("grpc-status-details-bin", b""))
