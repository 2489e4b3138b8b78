"""What the page's server answers.

It listens on 127.0.0.1, but a browser on this machine may be on any other site at the same time. So a request must
name this machine as its host (no DNS rebinding), what writes must come from this page itself (its origin, and a token
that only it can read), and nothing may be embedded elsewhere.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edge.configuration.problems import ConfigurationError
from edge.page.pictures import SIDES

if TYPE_CHECKING:
    from edge.page.server import Page

_STATIC = Path(__file__).with_name("static")
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/labels.js": ("labels.js", "text/javascript; charset=utf-8"),
    "/zones.js": ("zones.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LARGEST_BODY = 256 * 1024
_MOST_LOOKERS = 8
_SILENT_SECONDS = 1.0


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    server_version = "reeltag"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Files, figures, shapes and pictures."""
        if not self._is_ours():
            return
        path = self.path.split("?", 1)[0]
        if path in _FILES:
            name, kind = _FILES[path]
            text = (_STATIC / name).read_text(encoding="utf-8").replace("{{token}}", self._page.token)
            self._answer(200, text.encode(), kind)
        elif path == "/state.json":
            self._json(200, self._page.state())
        elif path.startswith("/shapes/") and self._camera(path) is not None:
            self._json(200, self._shapes(str(self._camera(path))))
        elif path.startswith("/live/") and self._camera(path) is not None:
            self._live(str(self._camera(path)), *(side for side in SIDES if self.path.endswith(f"?side={side}")))
        else:
            self._json(404, {"problems": ["there is nothing here"]})

    def do_PUT(self) -> None:
        """Save lines and zones."""
        if not self._is_ours() or not self._is_own_page():
            return
        camera = self._camera(self.path) if self.path.startswith("/shapes/") else None
        length = self.headers.get("Content-Length", "")
        if camera is None or not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._json(404 if camera is None else 413, {"problems": ["no camera, or too long a body"]})
            return
        try:
            said: dict[str, Any] = json.loads(self.rfile.read(int(length)))
            self._page.save(camera, said["lines"], said["zones"], str(said["version"]))
        except ConfigurationError as error:
            self._json(422, {"problems": [str(problem) for problem in error.problems]})
        except (ValueError, KeyError, TypeError) as error:
            self._json(400, {"problems": [f"right are lines, zones and version: {error!r}"]})
        except OSError as error:
            self._json(500, {"problems": [f"the file cannot be written: {error.strerror}"]})
        else:
            self._json(200, self._shapes(camera))

    def log_message(self, *_: Any) -> None:
        """Nothing: what is looked at is nobody's business."""

    @property
    def _page(self) -> Page:
        page: Page = self.server.page  # type: ignore[attr-defined]  # set by Page
        return page

    def _is_ours(self) -> bool:
        host = self.headers.get("Host", "")
        name, _, port = host.rpartition(":")
        if name in ("127.0.0.1", "localhost") and port == str(self._page.port):
            return True
        self.close_connection = True
        self._json(421, {"problems": [f"right is http://127.0.0.1:{self._page.port}/"]})
        return False

    def _is_own_page(self) -> bool:
        own = self.headers.get("Origin") == f"http://{self.headers['Host']}"
        if own and self.headers.get("X-Reeltag-Token") == self._page.token:
            return True
        self.close_connection = True
        self._json(403, {"problems": ["only the page itself may save; load it anew"]})
        return False

    def _camera(self, path: str) -> str | None:
        name = unquote(path.split("/", 2)[2])
        return name if name in self._page.views else None

    def _shapes(self, name: str) -> dict[str, Any]:
        camera = self._page.configuration.camera(name)
        plain = {"lines": [], "zones": []}  # type: dict[str, list[Any]]
        for kind, shapes in (("lines", camera.lines), ("zones", camera.zones)):
            for shape in shapes:
                plain[kind].append(_as_written(shape._asdict()))
        classes = list(self._page.class_names)
        return {**plain, "picture": camera.picture, "version": self._page.version, "classes": classes}

    def _live(self, name: str, longest: int = SIDES[-1]) -> None:
        view = self._page.views[name]
        if view.lookers >= _MOST_LOOKERS:
            self._json(503, {"problems": [f"{_MOST_LOOKERS} are looking already"]})
            return
        self.close_connection = True
        self.send_response(200)
        self._send_headers("multipart/x-mixed-replace; boundary=frame")
        view.look(1)
        number = 0
        try:
            while not self._page.is_closing:
                number, jpeg = view.next(number, _SILENT_SECONDS, longest)
                # Without a new picture an empty line is sent: so one who has gone is noticed.
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n" if jpeg else ""
                self.wfile.write(head.encode() + jpeg + b"\r\n")
        except OSError:  # the browser has gone
            return
        finally:
            view.look(-1)

    def _json(self, status: int, answer: Any) -> None:
        self._answer(status, json.dumps(answer).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self._send_headers(kind, len(body))
        self.wfile.write(body)

    def _send_headers(self, kind: str, length: int | None = None) -> None:
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if self.close_connection or self._page.is_closing:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()


def _as_written(shape: dict[str, Any]) -> dict[str, Any]:
    """As it stands in the YAML: what is left to its default is not there."""
    defaults = {"forward": "forward", "backward": "backward"}
    return {name: value for name, value in shape.items() if value is not None and defaults.get(name) != value}
