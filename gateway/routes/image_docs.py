"""What `/openapi.json` says of `POST /v1/images` beside its options."""

from __future__ import annotations

import json
from typing import Any, Final

from gateway.answering.accepting import JSON, JSON_LINES, PICTURE
from gateway.answering.descriptions import failures
from gateway.receiving.forms import MULTIPART, PART_NAME, RAW_TYPES, URL_NAME
from reeltag.fetching.url_hosts import MAX_URL_CHARACTERS
from reeltag.frames import FORMATS
from reeltag.priority import Priority

_BINARY: Final = {"type": "string", "format": "binary", "minLength": 1}
_PART: Final = {
    "type": "string",
    "format": "binary",
}  # an empty one is answered beside its neighbours
_URL: Final = {"type": "string", "minLength": 1, "maxLength": MAX_URL_CHARACTERS}
_FORM: Final = {
    "type": "object",
    "properties": {
        PART_NAME: {"type": "array", "items": _PART, "minItems": 1, "description": "The images; one part each."},
        URL_NAME: {
            "type": "array",
            "items": _URL,
            "minItems": 1,
            "description": "Addresses of images that the server fetches, where its operator allows their hosts.",
        },
    },
    "minProperties": 1,
    "additionalProperties": False,
}
PRIORITY: Final = {
    "name": "Priority",
    "in": "header",
    "description": "`bulk` lets the images of others go first where many wait; without it that of the key.",
    "schema": {"type": "string", "enum": [priority.value for priority in Priority]},
}
BODY: Final = {
    "required": True,
    "description": f"Several images as a form, or one image as it is: {FORMATS}. Unless the operator says "
    "otherwise, up to 32 MiB, 32 images, and 67,108,864 pixels each.",
    "content": {
        MULTIPART: {"schema": _FORM},
        **{media_type: {"schema": _BINARY} for media_type in RAW_TYPES},
    },
}
_EXAMPLE: Final = {
    "name": "street.jpg",
    "width": 1280,
    "height": 720,
    "detections": [{"label": "car", "score": 0.87, "box": [211.4, 305.0, 402.9, 441.7]}],
    "tags": [{"label": "street sign", "score": 0.41, "model": "efficientnet_lite0"}],
}
_FAILED: Final = {"name": "notes.txt", "error": {"code": "not_an_image", "message": "the bytes are no JPEG, PNG, ..."}}
_ANSWER: Final = {
    "results": [_EXAMPLE, _FAILED],
    "model_versions": {"nanodet_g": "145301728403266", "efficientnet_lite0": "27960014385715"},
    "timings_ms": {"read": 1.9, "queue": 0.4, "triton": 31.2, "total": 33.8},
}
_LINES: Final = {
    "schema": {"type": "string", "description": "An `ImageResult` a line."},
    "example": f"{json.dumps(_EXAMPLE)}\n{json.dumps(_FAILED)}\n",
}
ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What was found; in the form that `Accept` asks for.",
        "content": {JSON: {"example": _ANSWER}, JSON_LINES: _LINES, PICTURE: {"schema": _BINARY}},
    },
    **failures(
        *(401, 403, 404, 406, 413, 415, 422, 429, 504),
        status_400="The request is not valid HTTP/1.1, its body is empty, or the form is damaged.",
    ),
}
