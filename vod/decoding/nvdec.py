"""Whether NVDEC, the video decoder of NVIDIA's GPUs, can be used here: found out by decoding a small video.

FFmpeg in PyAV's packages drives it, so that packets, times and damage are what they are on the CPU.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import tempfile
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import av
import numpy as np

from reeltag.errors import SetupError
from reeltag.frames import Fit, View
from reeltag.gpu.devices import look
from vod.decoding.blocks import RingLayout
from vod.decoding.decoders import Decoder
from vod.decoding.video import Video

_DEVICE: Final = "cuda:0"
"""The first GPU that CUDA programs see."""
_TRIAL_SECONDS: Final = 120.0
_TRIAL_FRAMES: Final = 48
_TRIAL_VIEW: Final = View(Fit.LETTERBOX, 128, 128)
_TOLERANCE: Final = 2.0
"""Mean difference from the CPU's pixels, of 255."""


async def device_of(decoder: Decoder) -> str | None:
    """The GPU that decodes, as PyTorch names it; none where the CPU does.

    Raises:
        SetupError: The GPU was asked for, and does not work; the text says why.
    """
    if decoder is Decoder.CPU:
        return None
    found = await asyncio.to_thread(problem)
    if found and decoder is Decoder.GPU:
        raise SetupError(f"videos cannot be decoded on a GPU here: {found}; leave --decoder out, or name cpu")
    return None if found else _DEVICE


@lru_cache(maxsize=1)
def problem() -> str:
    """Why NVDEC cannot be used here; empty where it works."""
    cuda = look()
    if cuda.gpu is None:
        return cuda.problem or "CUDA programs see no GPU"
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed: `pip install 'reeltag[gpu]'`"
    try:
        trial = subprocess.run(
            [sys.executable, "-m", __name__], capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"decoding a small video on it was not done after {_TRIAL_SECONDS:.0f} s"
    if trial.returncode == 0:
        return ""
    said = (trial.stderr or trial.stdout).strip().splitlines()
    return said[-1] if said else f"decoding a small video on it ended with status {trial.returncode}"


def compared(path: Path, device: str) -> tuple[int, float]:
    """Decode a video on a device and on the CPU.

    Returns:
        Number of frames, whose times are the same, and the mean difference of their pixels, of 255.

    Raises:
        NotOnGpu: The device cannot decode it.
        ValueError: The times differ.
    """
    on_device, on_cpu = (_decoded(path, each) for each in (device, None))
    if [time for time, _ in on_device] != [time for time, _ in on_cpu]:
        raise ValueError("the GPU gives frames at other times than the CPU")
    pairs = zip(on_device, on_cpu, strict=True)
    return len(on_cpu), float(np.mean([np.abs(mine - theirs).mean() for (_, mine), (_, theirs) in pairs]))


def _decoded(path: Path, device: str | None) -> list[tuple[float, np.ndarray[tuple[int, ...], np.dtype[np.int16]]]]:
    video = Video(path, device=device)
    scaler, frames = video.scaler(_TRIAL_VIEW), []
    for picture in video.frames():
        pixels = np.empty((_TRIAL_VIEW.height, _TRIAL_VIEW.width, 3), np.uint8)
        scaler.fit(picture.frame, picture.shape, pixels)
        frames.append((picture.time, pixels.astype(np.int16)))
    video.close()
    return frames


def write_trial(path: Path) -> None:
    """Write a small video of H.264 in which something moves."""
    rows, columns = np.mgrid[0:240, 0:320]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"bf": "2", "g": "24"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(_TRIAL_FRAMES):
            planes = [128 + 100 * np.sin((columns + 4 * number) / 40), rows, (columns + rows) // 3 + number]
            pixels = np.stack(planes, axis=2).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    """Try it; the last line says why it does not work."""
    from vod.decoding.cuda import DeviceRing  # noqa: PLC0415  PyTorch takes seconds to import

    with tempfile.TemporaryDirectory(prefix="reeltag-nvdec-") as folder:
        path = Path(folder) / "trial.mp4"
        write_trial(path)
        DeviceRing(RingLayout((_TRIAL_VIEW,)), _DEVICE)
        frames, difference = compared(path, _DEVICE)
    if frames != _TRIAL_FRAMES or difference > _TOLERANCE:
        sys.exit(f"the GPU decodes {frames} of {_TRIAL_FRAMES} frames, {difference:.1f} levels from the CPU's")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
