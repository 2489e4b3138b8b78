"""Runs a service of docker-compose.yml as written, without Docker: Linux' own namespaces make the container.

It has a root of its own that may only be read, the tmpfs, volumes, user, capabilities and network that the service
says, the command and environment of its image, and no Python module that the image does not have.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.images import ROOT, Stage, denied_modules

PROJECT = "/opt/reeltag"
_SEEN = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", sys.base_prefix)
_DOCKERS_OWN = ("noexec", "nosuid", "nodev")
"""How Docker mounts a tmpfs that does not say otherwise."""


@dataclass(frozen=True)
class Container:
    """A running one."""

    process: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str]
    folder: str

    def run(self, command: list[str], seconds: float = 60, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command inside, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.process.pid}", "--mount", "--net", "--root"]
        as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--no-new-privs"]
        return subprocess.run(
            [*enter, *as_user, "env", "-i", f"--chdir={self.folder}", *_words(self.environment), *command],
            capture_output=True, input=given, timeout=seconds, check=False,
        )  # fmt: skip


@contextmanager
def container(
    service: Mapping[str, Any],
    stage: Stage,
    folder: Path,
    volumes: Mapping[str, Path],
    shims: Path | None = None,
    network_of: Container | None = None,
) -> Iterator[Container]:
    """Start a service; it must end within its grace period when it is told to.

    Args:
        service: Of docker-compose.yml.
        stage: Of its image.
        folder: For its root and its log.
        volumes: Folders that stand for the named volumes.
        shims: Programs of the image that are elsewhere here.
        network_of: Whose network it shares; it has its own without it.
    """
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "--net", "true"], check=False).returncode:
        pytest.skip("making namespaces takes root")
    root, denied = folder / "root", folder / "denied"
    root.mkdir()
    denied.mkdir()
    modules = denied_modules(stage.distributions)
    (denied / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n")
    environment = {
        "PATH": f"/shims:{ROOT}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/home/reeltag",
        "PYTHONPATH": "/denied",
        **stage.environment,
        **service.get("environment", {}),
    }
    script = _script(service, stage, root, denied, volumes, shims, environment)
    log = folder / "log"
    net = ["unshare", "--net"] if network_of is None else ["nsenter", f"--target={network_of.process.pid}", "--net"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*net, "unshare", "--mount", "--propagation=private", "sh", "-euc", script],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield Container(process, log, environment, stage.folder)
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM), log.read_text()
    finally:
        process.kill()
        process.wait()


def _script(
    service: Mapping[str, Any],
    stage: Stage,
    root: Path,
    denied: Path,
    volumes: Mapping[str, Path],
    shims: Path | None,
    environment: Mapping[str, str],
) -> str:
    lines = ["ip link set lo up", f"mount -t tmpfs root {root}"]

    def mount(what: str, target: str, options: str = "bind") -> None:
        place = f"{root}{target}"
        lines.append(f"mkdir -p {place}")
        lines.append(f"mount -o {options} {what} {place}")
        if options == "bind,ro":
            lines.append(f"mount -o remount,bind,ro {place}")

    for path in dict.fromkeys((*_SEEN, str(ROOT))):
        if Path(path).exists():
            mount(path, path, "bind,ro")
    mount(str(ROOT), PROJECT, "bind,ro")
    mount(str(denied), "/denied", "bind,ro")
    if shims is not None:
        mount(str(shims), "/shims", "bind,ro")
    mount("/proc", "/proc", "rbind")
    mount("/dev", "/dev", "rbind")
    mount("shm", "/dev/shm", f"size={service.get('shm_size', '64mb').removesuffix('b')},mode=1777 -t tmpfs")
    for entry in service.get("tmpfs", ()):
        target, _, said = entry.partition(":")
        chosen = [option for option in said.split(",") if option != "exec"]
        mount(
            "tmpfs",
            target,
            ",".join((*(o for o in _DOCKERS_OWN if o[2:] not in said.split(",")), *chosen)) + " -t tmpfs",
        )
    for entry in service.get("volumes", ()):
        name, target, *mode = entry.split(":")
        mount(str(volumes.get(name, ROOT / name)), target, "bind,ro" if mode == ["ro"] else "bind")
    if service["read_only"]:
        lines.append(f"mount -o remount,ro {root}")
    user, group = service["user"].split(":")
    drop = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    command = service.get("command", stage.command)
    inside = [
        *("chroot", str(root), "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *drop),
        *("env", "-i", f"--chdir={stage.folder}"),
        *_words(environment),
        *command,
    ]
    lines.append(f"exec {shlex.join(inside)}")
    return "\n".join(lines)


def _tmpfs_options(said: str) -> str:
    chosen = said.split(",")
    kept = [option for option in _DOCKERS_OWN if option.removeprefix("no") not in chosen]
    return ",".join([*kept, *(option for option in chosen if option != "exec")])


def _words(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]
