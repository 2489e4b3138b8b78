"""What this machine and installation have, what they lack, and how to get it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Final

from reeltag import embedded, gpu
from reeltag.contract import ModelCard
from reeltag.embedded.guard import SHARED_MEMORY
from reeltag.errors import EmbeddedUnavailable, ReeltagError
from reeltag.machine import this_machine
from reeltag.settings import load_settings
from reeltag.sizing import explained, shortage
from reeltag.triton import TritonClient

_CPU_FLAGS: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI (fast int8)",
    "amx_bf16": "AMX bf16 (fast bf16)",
    "amx_int8": "AMX int8",
}
_PACKAGES: Final = {
    "serve": ("nvidia-pytriton", "openvino", "fastapi", "uvicorn", "av", "pycocotools"),
    "export": ("torch", "onnx", "onnxruntime"),
    "gpu": ("torch", "onnx", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt",),
    "load": ("locust",),
}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    state: str
    """`ok`, `missing` (something the user asked for or needs) or `optional` (only some uses need it)."""
    detail: str
    """What was found, or how to get it."""


async def examine(triton_url: str | None, secret: str | None = None) -> list[Finding]:
    """Look at this machine, and at a running server where its gRPC address is given, with its secret if it has one."""
    findings = [*_machine(), *_gpu(), _embedded(), *examine_packages()]
    if triton_url is not None:
        findings += await _server(triton_url, secret)
    return findings


def _machine() -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    flags = _cpu_flags()
    features = ", ".join(name for flag, name in _CPU_FLAGS.items() if flag in flags) or "none that we look for"
    precision = "networks run in bf16" if "amx_bf16" in flags else "no bf16 here, so networks run in f32"
    machine, settings = this_machine(), load_settings()
    yield Finding("CPU", "ok", f"{machine.cores} cores usable; {features}; {precision}")
    missing = shortage(machine)
    chosen = explained(dict(settings), settings.model_fields_set, settings.state_dir)
    yield Finding("sizes", "missing" if missing else "ok", missing or chosen)
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.exists() else 0
    enough = free >= 256 << 20
    advice = "" if enough else "; 256 MiB are needed: `docker run --shm-size=1g`, or remount it larger"
    yield Finding("shared memory", "ok" if enough else "missing", f"{free >> 20} MiB free in /dev/shm{advice}")


def _cpu_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _gpu() -> Iterator[Finding]:
    """The GPU, and what runs networks on it or why it does not."""
    cuda = gpu.look()
    if cuda.gpu is None:
        yield Finding("GPU", "optional", f"{cuda.problem}; networks run on the CPU")
        return
    for found in cuda.gpus:
        capability = "{}.{}".format(*found.compute_capability)
        memory = f"{found.free_bytes / (1 << 30):.1f} of {found.total_bytes / (1 << 30):.1f} GiB free"
        versions = f"driver {cuda.driver}, CUDA up to {'.'.join(map(str, cuda.version))}"
        yield Finding("GPU", "ok", f"{found.name}, compute capability {capability}, {memory}; {versions}")
    for runtime in gpu.runtimes(cuda):
        named = f"{runtime.name} {runtime.version}".rstrip()
        if not runtime.problem:
            yield Finding("  networks on it", "ok", named)
            continue
        remedy = f": `{runtime.remedy}`" if runtime.remedy else ""
        yield Finding("  networks on it", "optional", f"not in {named}: {runtime.problem}{remedy}")
    codec = gpu.jpeg_decoder(cuda)
    remedy = f": `{codec.remedy}`" if codec.remedy else ""
    said = f"by the CPU, since {codec.problem}{remedy}" if codec.problem else f"{codec.name} {codec.version}"
    yield Finding("  JPEGs on it", "optional" if codec.problem else "ok", said)


def _embedded() -> Finding:
    try:
        files = embedded.find()
    except EmbeddedUnavailable as error:
        return Finding("embedded Triton", "missing", str(error))
    return Finding(
        "embedded Triton", "ok", f"nvidia-pytriton {version('nvidia-pytriton')}, stub {files.stub.parent.name}"
    )


def examine_packages() -> Iterator[Finding]:
    """Whether each extra is installed."""
    for extra, names in _PACKAGES.items():
        versions = {name: _installed(name) for name in names}
        found = [found for found in versions.values() if found]
        missing = [name for name, found in versions.items() if not found]
        detail = ", ".join(found)
        if missing:
            detail += f"{'; ' if found else ''}without {', '.join(missing)}: `pip install 'reeltag[{extra}]'`"
        state = "ok" if not missing else "missing" if extra == "serve" else "optional"
        yield Finding(f"extra {extra}", state, detail)


def _installed(package: str) -> str:
    """Name and version of the distribution, or of another one with the module of its name, as `onnxruntime-gpu` has.

    Empty where there is neither.
    """
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        others = packages_distributions().get(package.replace("-", "_"), [])
        return f"{others[0]} {version(others[0])}" if others else ""


async def _server(url: str, secret: str | None) -> list[Finding]:
    async with TritonClient(url, timeout_seconds=5, secret=secret) as client:
        try:
            server_version, served, cards = (await client.server_version(), await client.served(), await client.cards())
        except ReeltagError as error:
            return [Finding("Triton server", "missing", f"{error}; is it running? `reeltag serve` starts one")]
    findings = [Finding("Triton server", "ok", f"{server_version} at {url}, {len(served)} models")]
    for name, state in sorted(served.items()):
        if name in cards or state != "READY":
            detail = describe(cards[name]) if name in cards else f"{state}: see Triton's log"
            findings.append(Finding(f"  {name}", "ok" if state == "READY" else "missing", detail))
    return findings


def describe(card: ModelCard) -> str:
    """One line on a served network, such as `nanodet_g v1, 416x416, 80 classes, openvino f32`."""
    classes = f"{len(card.labels)} classes, " if card.labels else ""
    return f"{card.network} v{card.version}, {card.height}x{card.width}, {classes}{card.runtime} {card.precision}"
