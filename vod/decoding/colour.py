"""Colour: high dynamic range becomes standard dynamic range, and what is transparent lies on white.

PQ (SMPTE ST 2084) is absolute light; HLG (ARIB STD-B67) becomes that of a display of 1,000 cd/m2 with the system
gamma 1.2 (ITU-R BT.2100-2). A source peak of 1,000 cd/m2 is brought to 203, the reference white of ITU-R BT.2408, by
the curve of ITU-R BT.2390-8, 5.4.1 (EETF): unchanged up to a knee, then a Hermite spline, in the domain of PQ. It is
applied to the largest of the three primaries, so that hues stay. BT.2020's primaries become BT.709's in linear light,
what lies outside is clipped, and 203 cd/m2 are displayed as white by the inverse of BT.1886's gamma 2.4.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]
Linear = npt.NDArray[np.float32]

SOURCE_PEAK: Final = 1000.0
"""cd/m2; brighter light is clipped."""
REFERENCE_WHITE: Final = 203.0
"""cd/m2 of what is displayed as white."""
_PQ_PEAK: Final = 10_000.0
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA: Final = 1.2
_HLG_LUMA: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020_TO_BT709: Final = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
_STEPS: Final = 4096
"""Entries of the tables from light to display values; errors stay below half an 8-bit step (tests)."""


class Transfer(Enum):
    """What the numbers of a frame stand for."""

    SDR = None
    PQ = int(av.video.reformatter.ColorTrc.SMPTE2084)
    HLG = int(av.video.reformatter.ColorTrc.ARIB_STD_B67)


def transfer_of(frame: av.VideoFrame) -> Transfer:
    """Which transfer a frame states."""
    value = int(frame.color_trc)
    return next((each for each in Transfer if each.value == value), Transfer.SDR)


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether some of the frame may be transparent."""
    return any(component.is_alpha for component in frame.format.components)


def on_white(pixels: Pixels) -> Pixels:
    """Composite uint8 `(H, W, 4)` RGBA, not multiplied by alpha, on white: uint8 `(H, W, 3)` RGB."""
    colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def tone_mapped(pixels: Deep, transfer: Transfer) -> Pixels:
    """BT.2020 in PQ or HLG to BT.709: uint16 `(H, W, 3)` RGB of 16 bits to uint8 `(H, W, 3)` RGB."""
    light = _light_of(pixels, transfer)
    peak = np.ascontiguousarray(light.max(axis=2))
    light *= _gain(peak)[..., None]
    display = cv2.transform(light, _BT2020_TO_BT709)
    index = np.clip(np.sqrt(np.clip(display, 0, 1)) * (_STEPS - 1) + 0.5, 0, _STEPS - 1).astype(np.uint16)
    return np.asarray(_display_table()[index], np.uint8)


def _light_of(pixels: Deep, transfer: Transfer) -> Linear:
    """Light of the display, 1 at reference white."""
    if transfer is Transfer.PQ:
        light: Linear = np.take(_pq_table(), pixels)
        return light
    scene = np.asarray(_hlg_table()[pixels], np.float32)
    luma = np.maximum(scene @ _HLG_LUMA, 1e-6)
    scene *= (luma ** (_HLG_GAMMA - 1) * (SOURCE_PEAK / REFERENCE_WHITE))[..., None]
    return np.asarray(scene, np.float32)


def _gain(peak: Linear) -> Linear:
    """What to multiply light by, whose largest primary is `peak`."""
    index = np.sqrt(np.minimum(peak, SOURCE_PEAK / REFERENCE_WHITE) * (REFERENCE_WHITE / SOURCE_PEAK)) * (_STEPS - 1)
    clipped = np.minimum(1, SOURCE_PEAK / REFERENCE_WHITE / np.maximum(peak, 1e-6))
    return np.asarray(_gain_table()[(index + 0.5).astype(np.uint16)] * clipped, np.float32)


def pq_to_light(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """PQ values, 0 to 1, to cd/m2 (SMPTE ST 2084)."""
    root = np.power(np.clip(values, 0, 1), 1 / _M2)
    return np.asarray(_PQ_PEAK * np.power(np.maximum(root - _C1, 0) / (_C2 - _C3 * root), 1 / _M1))


def light_to_pq(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Light in cd/m2 to PQ values, 0 to 1 (SMPTE ST 2084)."""
    power = np.power(np.clip(light / _PQ_PEAK, 0, 1), _M1)
    return np.asarray(np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2))


def eetf(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Light of a source of `SOURCE_PEAK` on a display of `REFERENCE_WHITE`, cd/m2 (ITU-R BT.2390-8, 5.4.1)."""
    source, target = light_to_pq(np.array([SOURCE_PEAK, REFERENCE_WHITE]))
    value, largest = np.clip(light_to_pq(light) / source, 0, 1), target / source
    knee = 1.5 * largest - 0.5
    t = np.clip((value - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * largest
    return pq_to_light(np.where(value < knee, value, spline) * source)


@lru_cache
def _pq_table() -> Linear:
    return np.asarray(pq_to_light(np.arange(65536) / 65535) / REFERENCE_WHITE, np.float32)


@lru_cache
def _hlg_table() -> Linear:
    """Scene light, 0 to 1, of HLG values (ARIB STD-B67)."""
    value = np.arange(65536) / 65535
    return np.asarray(
        np.where(value <= 0.5, value**2 / 3, (np.exp((value - _HLG_C) / _HLG_A) + _HLG_B) / 12), np.float32
    )


@lru_cache
def _gain_table() -> Linear:
    light = np.square(np.arange(_STEPS) / (_STEPS - 1)) * SOURCE_PEAK
    light[0] = light[1]
    return np.asarray(eetf(light) / light, np.float32)


@lru_cache
def _display_table() -> Pixels:
    light = np.square(np.arange(_STEPS) / (_STEPS - 1))
    return np.asarray(np.round(255 * np.power(light, 1 / 2.4)), np.uint8)
