"""The kinds of TIFF, in words: which have no clear reading, and how to call the others."""

from __future__ import annotations

from mambaad.data import tiff

GREY_WHITE_IS_ZERO, GREY, RGB, PALETTE, MASK, INKS, YCBCR = range(7)
LAB = 8
_CHANNELS = {GREY_WHITE_IS_ZERO: 1, GREY: 1, RGB: 3, PALETTE: 1, INKS: 4, YCBCR: 3, LAB: 3}
_COLOURS = {
    **{PALETTE: "with a palette", MASK: "as a mask of transparency", INKS: "of inks"},
    **{YCBCR: "in YCbCr", LAB: "in CIELAB", 9: "in CIELAB", 10: "in CIELAB"},
    **{32803: "as a raw camera's pattern", 34892: "as a raw camera's numbers"},
    **{32844: "as logarithms", 32845: "as logarithms", 51177: "of depths"},
}
_COMPRESSIONS = {
    **{2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "an early JPEG", 7: "JPEG", 8: "Deflate"},
    **{32773: "PackBits", 32946: "Deflate", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA"},
    **{34933: "PNG", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"},
}
_NUMBERS = {1: "numbers", 2: "signed numbers", 3: "floats", 5: "complex", 6: "complex floats"}
_PREMULTIPLIED = 1


def unclear(content: bytes, page: tiff.Directory) -> str | None:
    """Say what of a page has no clear reading, though a decoder may return something; or None.

    Args:
        content: the file.
        page: its directory.
    """
    bits, channels = page.get(tiff.BITS, (1,)), page.get(tiff.SAMPLES, (1,))[0]
    colours = page.get(tiff.PHOTOMETRIC, (GREY,))[0]
    more = channels - _CHANNELS.get(colours, channels)
    extra = page.get(tiff.EXTRA_SAMPLES, ())
    if content[:4] == b"MM\0+":
        return "the form of a big-endian BigTIFF, expected little-endian or no BigTIFF"
    if colours == YCBCR and page.get(tiff.COMPRESSION, (1,))[0] not in (6, 7):
        return "YCbCr colours that are not compressed by JPEG"
    if page.get(tiff.DEPTH, (1,))[0] > 1:
        return f"a volume of {page[tiff.DEPTH][0]} slices, expected one picture"
    if colours == INKS and (page.get(tiff.INK_SET, (1,))[0] != 1 or (more > 0 and 0 in extra)):
        return f"{channels} inks, expected the four of CMYK"
    if more > 1:
        expected = {1: "one of grey", 3: "three of colour", 4: "four of inks"}[channels - more]
        return f"{channels} channels, expected {expected}, and perhaps one of transparency"
    if more == 1 and extra[:1] == (_PREMULTIPLIED,) and (bits[0] != 8 or colours != RGB):
        return "premultiplied transparency, which is read of 8-bit RGB only"
    if page.get(tiff.SAMPLE_FORMAT, (1,))[0] == 2 and bits[0] == 8:
        return "signed 8-bit numbers, expected 0 to 255"
    palette = page.get(tiff.PALETTE, ())
    if colours == PALETTE and 0 < max(palette, default=0) < 256:
        return "a palette of 8-bit colours, expected 16 bits each"
    return None


def described(content: bytes, page: tiff.Directory) -> str:
    """Describe a page by what decides whether it can be read.

    Args:
        content: the file.
        page: its directory.
    """
    bits = page.get(tiff.BITS, (1,))
    channels = page.get(tiff.SAMPLES, (1,))[0]
    numbers = _NUMBERS.get(page.get(tiff.SAMPLE_FORMAT, (1,))[0], "numbers of an unknown kind")
    of_bits = "/".join(map(str, bits if len(set(bits)) > 1 else bits[:1]))
    parts = [f"a TIFF of {channels} channel{'s' * (channels != 1)} of {of_bits}-bit {numbers}"]
    colours = page.get(tiff.PHOTOMETRIC, (GREY,))[0]
    if colours == GREY_WHITE_IS_ZERO:
        parts.append("in which white is 0")
    elif colours not in (GREY, RGB):
        parts.append(_COLOURS.get(colours, f"of photometric kind {colours}"))
    if channels > 1 and page.get(tiff.PLANAR, (1,))[0] == 2:
        parts.append("in planes")
    if tiff.TILE_WIDTH in page:
        parts.append("in tiles")
    compression = page.get(tiff.COMPRESSION, (1,))[0]
    if compression != 1:
        parts.append(f"compressed by {_COMPRESSIONS.get(compression, f'method {compression}')}")
    return ", ".join(parts)
