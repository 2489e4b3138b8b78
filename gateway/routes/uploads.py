"""`/v1/uploads`: videos that come in pieces and go on after a break, by tus 1.0 (https://tus.io/protocols)."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from gateway.answering.json import Answer
from gateway.errors import render
from gateway.jobs.docs import answer, job_failures
from gateway.receiving.resumable import Receiver
from gateway.routes.jobs import Its
from reeltag.errors import BodyTooLarge, InvalidOption, ReeltagError, UnknownProtocol, UnsupportedMediaType
from reeltag.uploads import SCHEME, StoredUpload, UploadFolder

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,expiration,termination"
OFFSET_TYPE: Final = "application/offset+octet-stream"
_ID: Final = "9f2c6b0e4d5a4c1b8e7f3a2d1c0b9a88"
_HEADERS: Final = {
    "Upload-Offset": {"description": "Bytes that are there.", "schema": {"type": "integer"}},
    "Upload-Expires": {"description": "When it is removed, if nothing more comes.", "schema": {"type": "string"}},
}


class TusRoute(APIRoute):
    """Answers, errors too, say which version of the protocol is spoken."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's function, with that around it."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                response = await handle(request)
            except ReeltagError as error:
                response = render(error)
                if isinstance(error, UnknownProtocol):
                    response.headers["Tus-Version"] = VERSION
            response.headers["Tus-Resumable"] = VERSION
            return response

        return handled


router: Final = APIRouter(tags=["uploads"], route_class=TusRoute)


def _header(name: str, text: str, schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "required": required, "schema": schema}


_VERSION: Final = _header(
    "Tus-Resumable", "Version of tus that the client speaks.", {"type": "string", "enum": [VERSION]}
)
_VERSION_OR_NONE: Final = {**_VERSION, "required": False}
_BYTES: Final = {"type": "integer", "minimum": 0, "maximum": 10**15}
_LENGTH: Final = _header("Upload-Length", "Bytes of the file.", _BYTES)
_OFFSET: Final = _header("Upload-Offset", "Where the bytes belong: where the upload ends.", _BYTES)
_METADATA: Final = _header(
    "Upload-Metadata",
    "`filename` and its value in base64.",
    {"type": "string", "pattern": "^filename ([A-Za-z0-9+/]{4}){1,200}$"},
    required=False,
)


class UploadAnswer(Answer):
    """An upload, and what jobs are made of it by."""

    id: str
    source: str
    """What `POST /v1/jobs` takes once it is finished."""
    name: str
    """Of the file."""
    offset: int
    """Bytes that came."""
    length: int
    """Bytes that will be there."""
    finished: bool


_EXAMPLE: Final = {
    "id": _ID,
    "source": f"{SCHEME}{_ID}",
    "name": "one.mp4",
    "offset": 1048576,
    "length": 73400320,
    "finished": False,
}


@router.options(
    "/v1/uploads",
    summary="What is spoken",
    response_class=Response,
    status_code=204,
    responses={204: {"description": "In headers: `Tus-Version`, `Tus-Extension`, `Tus-Max-Size`."}, **job_failures()},
)
async def upload_options(request: Request, its: Its) -> Response:
    """The version and extensions of tus that are spoken, and the largest upload."""
    headers = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(_most_bytes(request))}
    return Response(status_code=204, headers=headers)


@router.post(
    "/v1/uploads",
    summary="Begin an upload",
    response_class=Response,
    status_code=201,
    responses={
        201: {
            "description": "It may come now.",
            "headers": {
                "Location": {"description": "Where it is sent.", "schema": {"type": "string"}},
                "Upload-Expires": _HEADERS["Upload-Expires"],
            },
        },
        **job_failures(412, 413),
    },
    openapi_extra={"parameters": [_VERSION, _LENGTH, _METADATA]},
)
async def create_upload(request: Request, its: Its) -> Response:
    """Say how many bytes will come, and hear where they are to be sent."""
    _check_version(request)
    length = _number(request, "Upload-Length")
    if length > _most_bytes(request):
        raise BodyTooLarge(f"an upload may have {_most_bytes(request):,} bytes, and this one would have {length:,}")
    metadata = request.headers.get("upload-metadata", "")
    name = _metadata(metadata).get("filename", "video")
    upload = await asyncio.to_thread(_folder(request).create, its.tenant, length, name, metadata)
    headers = {"Location": f"/v1/uploads/{upload.id}", "Upload-Offset": "0", **await _expiry(request, upload)}
    return Response(status_code=201, headers=headers)


@router.get(
    "/v1/uploads/{upload_id}",
    summary="How far it is",
    responses={**answer(200, _EXAMPLE, "Also in headers, for HEAD.", headers=_HEADERS), **job_failures(412)},
    openapi_extra={"parameters": [_VERSION_OR_NONE]},
)
async def get_upload(request: Request, response: Response, upload_id: str, its: Its) -> UploadAnswer:
    """Where an upload goes on; clients that speak tus ask with HEAD."""
    if "tus-resumable" in request.headers:
        _check_version(request)
    upload = await asyncio.to_thread(_folder(request).find, its.tenant, upload_id)
    offset = await asyncio.to_thread(lambda: upload.offset)
    response.headers.update(
        {
            "Upload-Offset": str(offset),
            "Upload-Length": str(upload.about.length),
            "Cache-Control": "no-store",
            **({"Upload-Metadata": upload.about.metadata} if upload.about.metadata else {}),
            **await _expiry(request, upload),
        }
    )
    return UploadAnswer(
        id=upload.id,
        source=f"{SCHEME}{upload.id}",
        name=upload.about.name,
        offset=offset,
        length=upload.about.length,
        finished=offset == upload.about.length,
    )


@router.patch(
    "/v1/uploads/{upload_id}",
    summary="Send bytes",
    response_class=Response,
    status_code=204,
    responses={204: {"description": "They are there.", "headers": _HEADERS}, **job_failures(409, 412, 413, 415)},
    openapi_extra={
        "parameters": [_VERSION, _OFFSET],
        "requestBody": {
            "required": True,
            "content": {OFFSET_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
async def send_upload(request: Request, upload_id: str, its: Its) -> Response:
    """Send the next bytes, as many as are convenient: what came is kept, also where the connection breaks."""
    _check_version(request)
    media_type = request.headers.get("content-type", "")
    if media_type != OFFSET_TYPE:
        raise UnsupportedMediaType(f"Content-Type {media_type[:80]!r} is not taken; send {OFFSET_TYPE}")
    offset = _number(request, "Upload-Offset")
    upload = await asyncio.to_thread(_folder(request).find, its.tenant, upload_id)
    receiver: Receiver = request.app.state.receiver
    end = await receiver.append(upload, offset, request)
    return Response(status_code=204, headers={"Upload-Offset": str(end), **await _expiry(request, upload)})


@router.delete(
    "/v1/uploads/{upload_id}",
    summary="Remove it",
    response_class=Response,
    status_code=204,
    responses={204: {"description": "It is gone."}, **job_failures(412)},
    openapi_extra={"parameters": [_VERSION]},
)
async def delete_upload(request: Request, upload_id: str, its: Its) -> Response:
    """Remove an upload; a job that is made of it and not done yet loses its source."""
    _check_version(request)
    folder = _folder(request)
    await asyncio.to_thread(folder.remove, await asyncio.to_thread(folder.find, its.tenant, upload_id))
    return Response(status_code=204)


def _folder(request: Request) -> UploadFolder:
    folder: UploadFolder = request.app.state.uploads
    return folder


def _most_bytes(request: Request) -> int:
    most: int = request.app.state.max_video_bytes
    return most


def _check_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise UnknownProtocol(f"tus {VERSION} is spoken here: send the header `Tus-Resumable: {VERSION}`")


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name)
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidOption(f"{name}: give a number of bytes" + ("" if text is None else f", not {text[:40]!r}"))
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """The pairs of `Upload-Metadata`: a name, a space, and a value in base64; separated by commas.

    Raises:
        InvalidOption: It is of another form.
    """
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError) as error:
            raise InvalidOption(f"Upload-Metadata: the value of {name[:40]!r} is no base64") from error
    return found


async def _expiry(request: Request, upload: StoredUpload) -> dict[str, str]:
    at = await asyncio.to_thread(_folder(request).expires, upload)
    return {"Upload-Expires": formatdate(at, usegmt=True)}
