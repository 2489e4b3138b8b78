"""A local RTSP server: `python -m tests.edge.rtsp_server PORT [PASSWORD]`; serves /street, to the user watch."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

from edge.capture import gstreamer

_LAUNCH = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=20/1 ! "
    "jpegenc ! rtpjpegpay name=pay0 )"
)


def main(port: str, password: str = "") -> None:
    """Serve until the end of the process."""
    gstreamer.load()
    gi: Any = importlib.import_module("gi")
    gi.require_version("GstRtspServer", "1.0")
    rtsp: Any = importlib.import_module("gi.repository.GstRtspServer")
    glib: Any = importlib.import_module("gi.repository.GLib")
    server = rtsp.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = rtsp.RTSPMediaFactory.new()
    factory.set_launch(_LAUNCH)
    factory.set_shared(True)
    if password:
        _protect(rtsp, server, factory, password)
    server.get_mount_points().add_factory("/street", factory)
    assert server.attach(None)
    print("ready", flush=True)
    glib.MainLoop().run()


def _protect(rtsp: Any, server: Any, factory: Any, password: str) -> None:
    token = rtsp.RTSPToken()
    token.set_string("media.factory.role", "watcher")
    auth = rtsp.RTSPAuth()
    auth.add_basic(rtsp.RTSPAuth.make_basic("watch", password), token)
    server.set_auth(auth)
    permissions = rtsp.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("watcher", permission, True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
