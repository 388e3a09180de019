"""PNG and TIFF files of any depth, colour, alpha and orientation, written as specified.

No library writes all of them, and one that also reads them would agree with itself.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ORIENTATION = 274  # the tag that TIFF and EXIF share
Pixels = NDArray[Any]  # (H, W) or (H, W, channels)
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels
# From what is seen to what is stored: whether axes are swapped, then rows and columns mirrored.
STORED: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def stored(seen: Pixels, orientation: int) -> Pixels:
    """The pixels of a file that shows `seen` to a viewer who obeys the tag (TIFF 6.0, p. 36)."""
    swapped, rows, columns = STORED[orientation]
    turned = np.swapaxes(seen, 0, 1) if swapped else seen
    return np.ascontiguousarray(turned[:: -1 if rows else 1, :: -1 if columns else 1])


def exif(orientation: int) -> bytes:
    """A TIFF header and one directory with one tag, as EXIF is."""
    entry = struct.pack("<HHIHH", ORIENTATION, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0\0\0\0"


def png(
    pixels: Pixels,
    *,
    orientation: int = 1,
    palette: NDArray[np.uint8] | None = None,
    transparency: bytes = b"",
    bits: int | None = None,
) -> bytes:
    """A PNG (ISO/IEC 15948) of uint8 or uint16 pixels.

    Args:
        palette: (n, 3) colours that (H, W) pixels are indices of; `transparency` is their alpha.
        bits: 1, 2 or 4 for (H, W) pixels of fewer than 8 bits.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    depth = bits or 8 * pixels.dtype.itemsize
    kind = 3 if palette is not None else COLOUR_TYPES[channels]
    lines = [_line(row, depth) for row in pixels.astype(pixels.dtype.newbyteorder(">"))]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
    if transparency:
        chunks.append((b"tRNS", transparency))
    if orientation != 1:
        chunks.append((b"eXIf", exif(orientation)))
    chunks.append((b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _line(row: Pixels, depth: int) -> bytes:
    if depth >= 8:
        return row.tobytes()
    bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def tiff(
    pixels: Pixels,
    photometric: int,
    *,
    orientation: int = 1,
    palette: NDArray[np.uint8] | None = None,
    alpha: bool = False,
    order: Literal["<", ">"] = "<",
) -> bytes:
    """A TIFF 6.0 of one strip without compression, in either byte order.

    Args:
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 separated (CMYK).
        palette: (256, 3) colours for photometric 3.
        alpha: whether the last channel is unassociated alpha.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    dtype = pixels.dtype
    depth, sample = 8 * dtype.itemsize, {"u": 1, "i": 2, "f": 3}[dtype.kind]
    data = pixels.astype(dtype.newbyteorder(order)).tobytes()
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [depth] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8]),
        ORIENTATION: (3, [orientation]),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(data)]),
        339: (3, [sample] * channels),
    }
    if palette is not None:
        tags[320] = (3, (palette.astype(int).T * 257).ravel().tolist())
    if alpha:
        tags[338] = (3, [2])
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    later, entries = start + 2 + 12 * len(tags) + 4, b""
    beside = b""
    for tag, (kind, values) in sorted(tags.items()):
        text = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(text) > 4:
            text, beside = struct.pack(f"{order}I", later + len(beside)), beside + text
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + text.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, start) + data
    return head + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0" + beside
