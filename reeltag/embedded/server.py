"""Starts and stops an embedded server."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from reeltag.embedded.cuda import environment_with_gpu, runs_on_gpu, server_options
from reeltag.embedded.files import TritonFiles, find
from reeltag.embedded.folder import RunFolder
from reeltag.embedded.keeper import Keeper
from reeltag.embedded.logs import new_log
from reeltag.embedded.run import Run
from reeltag.errors import PortInUse
from reeltag.gpu import look
from reeltag.telemetry import triton_options


class EmbeddedTriton:
    """A Triton server that this user alone can reach, for as long as a `with` block or the process lasts.

    It listens on a socket in a folder of mode 0700 and on no TCP port, so that neither another user of the machine nor
    a web page can load models into it, read its shared memory or ask it anything.

    Args:
        model_repository: Folder that it serves, every model of it; or what fills a folder of its own before each start,
            which is removed with it.
        metrics_port: Port on 127.0.0.1 of its Prometheus metrics, which any user of the machine can then read; without
            it there are none.
        ready_timeout_seconds: Longest wait for all models to be loaded.
    """

    def __init__(
        self,
        model_repository: Path | Callable[[Path], None],
        *,
        metrics_port: int | None = None,
        ready_timeout_seconds: float = 120.0,
    ) -> None:
        self.model_repository = model_repository
        self.metrics_port = metrics_port
        self.ready_timeout_seconds = ready_timeout_seconds
        self.log = Path()
        """What the server writes, kept after it stopped; known once it was started."""
        self.startup_seconds = 0.0
        """From the start to all models loaded."""
        self._folder: RunFolder | None = None
        self._keeper: Keeper | None = None

    @property
    def url(self) -> str:
        """Address of the gRPC endpoint, such as `unix:/tmp/reeltag-triton-7-x/grpc:1`; known once it was started."""
        if self._folder is None:
            raise RuntimeError("the server was not started")
        return self._folder.url

    @property
    def trouble(self) -> str | None:
        """Why the server does not come back by itself; None where it runs or is being started again."""
        return self._keeper.trouble if self._keeper is not None else "it was not started"

    def restart(self, reason: str) -> None:
        """Kill the server at once, so that none of its answers arrives any more, and start it again."""
        if self._keeper is not None:
            self._keeper.restart(reason)

    def __enter__(self) -> EmbeddedTriton:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it serves every model; from then on it is started again when it ends.

        Raises:
            EmbeddedUnavailable: It cannot run here, did not come up in time, or a model failed to load.
            PortInUse: The port for metrics is taken.
        """
        files = find()
        began = time.monotonic()
        if self.metrics_port is not None:
            _check_free(self.metrics_port)
        log = self.log = new_log()
        folder = RunFolder.make()
        try:
            environment = files.environment()

            def launch() -> Run:
                folder.add_backend(files)
                models = folder.models(self.model_repository)
                command = self._command(files, folder, models)
                if not runs_on_gpu(models):
                    return Run(command, environment, folder, log)
                here = environment_with_gpu(environment, folder.path)
                return Run([*command, *server_options(look(here))], here, folder, log)

            run = launch()
            run.wait_until_ready(self.ready_timeout_seconds)
        except BaseException:
            folder.remove()
            raise
        self._folder = folder
        self._keeper = Keeper(run, launch, self.ready_timeout_seconds)
        self.startup_seconds = time.monotonic() - began

    def stop(self) -> None:
        """Stop the server and its stubs, and remove its shared memory; does nothing when it does not run."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.remove()

    def _command(self, files: TritonFiles, folder: RunFolder, models: Path) -> list[str]:
        metrics = ["--allow-metrics=false"]
        if self.metrics_port is not None:
            metrics = ["--metrics-address=127.0.0.1", f"--metrics-port={self.metrics_port}"]
            metrics.append("--allow-gpu-metrics=false")
        return [
            str(files.server),
            f"--model-repository={models}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in _names_in(models)),
            *folder.server_options,
            "--allow-http=false",
            *metrics,
            *triton_options(os.environ),
            "--log-format=ISO8601",
        ]


def _names_in(models: Path) -> list[str]:
    """Of the models in a repository; it also holds sources of backends that nothing there uses yet."""
    return sorted(config.parent.name for config in models.glob("*/config.pbtxt"))


def _check_free(port: int) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(f"port {port} on 127.0.0.1 is in use; choose another for Triton's metrics") from error
