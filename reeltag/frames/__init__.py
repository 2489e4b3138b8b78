"""Pictures: encoded bytes to RGB pixels, and the fitting of pixels into a network's input.

This package imports nothing of reeltag: the exporter copies it beside the `decode` backend, so that the model
folder also runs inside NVIDIA's container.
"""

from .decoding import decode_image, decode_views, fit_views
from .gpu_memory import CHUNK_PIXELS, FIT_PIXELS, LONGEST_SIDE, MOST_PIXELS, decoding_bytes
from .header import FORMATS, MAX_DECODE_SECONDS, MAX_ENCODED_BYTES, MAX_IMAGE_PIXELS, ImageError, ImageHeader
from .jpeg import Jpeg
from .reading import IMAGE_SUFFIXES, SIGNATURE_BYTES, looks_like_image, read, read_header
from .resampling import Resampler
from .views import (
    CROP_FRACTION,
    OVERSAMPLING,
    Colour,
    Fit,
    Geometry,
    Pixels,
    Placement,
    View,
    fit_pixels,
    geometry_of,
    minimum_size,
    place_letterbox,
    placement_of,
)

__all__ = [
    "CHUNK_PIXELS",
    "CROP_FRACTION",
    "FIT_PIXELS",
    "FORMATS",
    "IMAGE_SUFFIXES",
    "LONGEST_SIDE",
    "MAX_DECODE_SECONDS",
    "MAX_ENCODED_BYTES",
    "MAX_IMAGE_PIXELS",
    "MOST_PIXELS",
    "OVERSAMPLING",
    "SIGNATURE_BYTES",
    "Colour",
    "Fit",
    "Geometry",
    "ImageError",
    "ImageHeader",
    "Jpeg",
    "Pixels",
    "Placement",
    "Resampler",
    "View",
    "decode_image",
    "decode_views",
    "decoding_bytes",
    "fit_pixels",
    "fit_views",
    "geometry_of",
    "looks_like_image",
    "minimum_size",
    "place_letterbox",
    "placement_of",
    "read",
    "read_header",
]
