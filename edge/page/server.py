"""The page's server: on this machine only, with nothing but the standard library."""

from __future__ import annotations

import secrets
import threading
from http.server import ThreadingHTTPServer
from typing import Any, Callable, Mapping, Sequence

from reeltag.errors import InvalidOption

from edge.configuration.saving import Shapes, save, version
from edge.configuration.words import CameraSettings, Configuration
from edge.page.pictures import Shown, View
from edge.page.requests import Handler
from edge.words import LazyPicture

FPS = 10.0
HOST = "127.0.0.1"


class Page:
    """A page about all cameras.

    Args:
        port: Of 127.0.0.1; 0 takes a free one.
        configuration: Whose lines and zones are drawn and saved.
        class_names: Of the detector.
        figures: Gives, for each camera by its name, what is shown: `captured`, `dropped`, `state`, `latency_ms`
            (`p50`, `p95`, `p99`) and `counts` (`Scene.counts`). Called when somebody looks, in another thread.
        changed: Told of a camera whose lines and zones were saved, in another thread.

    Raises:
        InvalidOption: Somebody listens on that port.
    """

    def __init__(
        self,
        port: int,
        configuration: Configuration,
        class_names: Sequence[str] = (),
        figures: Callable[[], Mapping[str, Any]] = dict,
        changed: Callable[[CameraSettings], None] = lambda _: None,
    ) -> None:
        self.configuration, self.class_names = configuration, class_names
        self.figures, self._changed = figures, changed
        self.token = secrets.token_urlsafe(24)
        """What a page that came from here sends along when it saves."""
        fps = configuration.page.get("fps", FPS)
        shows = configuration.shows_plates
        self.views = {camera.name: View(fps, shows_plates=shows) for camera in configuration.cameras}
        self._saving = threading.Lock()
        try:
            self._server = _Server((HOST, port), Handler)
        except OSError as error:
            raise InvalidOption(
                f"the page cannot listen on {HOST}:{port}: {error.strerror}; take another port"
            ) from error
        self._server.page = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="page", daemon=True)
        self._thread.start()

    def show(self, camera: str, picture: LazyPicture, scene: Shown) -> None:
        """Show a frame to those who look; costs nothing when nobody does.

        Args:
            camera: Its name.
            picture: Of the frame.
            scene: Its tracks and veils.
        """
        self.views[camera].show(picture, scene, self.class_names)

    def version(self) -> str:
        """Of the configuration's file."""
        return version(self.configuration.path)

    def save(self, camera: str, lines: Shapes, zones: Shapes, based_on: str) -> None:
        """As `edge.configuration.saving.save`; the watching goes on with them."""
        with self._saving:
            path = self.configuration.path
            self.configuration = save(path, camera, lines, zones, based_on, self.class_names or None)
        self._changed(self.configuration.camera(camera))

    def close(self) -> None:
        """Stop listening; who looks is cut off."""
        self._server.is_closing = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    page: Page
    is_closing = False
