"""A printed label with text, a picture and a bar code, stuck on a carton."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageDraw

from mambaad.data.synthetic.noise import Frame, around, between, fractal, grain, pick, smooth
from mambaad.data.synthetic.optics import Surface, draw_light, linear, tinted
from mambaad.data.synthetic.scene import Plan, Scene, Severity
from mambaad.data.synthetic.shapes import box, patch, sample, write

_WIDTH, _HEIGHT = 200, 144  # design units
_FINE = 4  # pixels of the artwork in a design unit
_BLUE, _ORANGE, _BLACK = (22, 74, 138), (236, 132, 30), (28, 28, 32)
# Digits as the bars of EAN-13's left half (odd parity) in modules of white, black, white, black.
_BARS = ("3211", "2221", "2122", "1411", "1132", "1231", "1114", "1312", "1213", "3112")
# The plates that print it, one after the other: left, top, right, bottom in design units.
PLATES = {
    "brand": (0, 0, 200, 36),
    "title": (10, 42, 136, 76),
    "picture": (146, 42, 192, 84),
    "text": (10, 78, 96, 104),
    "lot": (10, 108, 92, 136),
    "code": (98, 88, 194, 138),
}


def plan_label(random: np.random.Generator) -> Plan:
    """All labels of a lot say the same."""
    return {
        "light": draw_light(random),
        "at": [around(random, 0, 5), around(random, 0, 5)],
        "angle": around(random, 0.0, 0.05),
        "paper": tinted((240, 239, 234), random, 3),
        "carton": tinted((172, 132, 90), random, 4),
        "ink": between(random, 0.9, 1.0),
        "misprint": None,
    }


def build_label(plan: Plan, frame: Frame) -> Scene:
    """Ink on paper on a carton."""
    random = frame.random("carton")
    size = frame.size
    fibres = smooth(random, size, size // 3, size // 9)
    flutes = np.sin(frame.y * 0.52 + 0.5 * smooth(random, size, 3, 3))
    tone = 0.92 + 0.05 * fibres + 0.05 * fractal(random, size, 5, 3) + 0.025 * flutes
    tone += 0.02 * grain(random, size, size)
    surface = Surface.of(linear(plan["carton"]) * tone[..., None], 0.25 * flutes + 0.12 * fibres)

    label = patch(frame, surface, plan["at"], plan["angle"])
    distance = box(label.u, label.v, _WIDTH / 2, _HEIGHT / 2, 7)
    label.shadow(
        lambda u, v: box(u, v, _WIDTH / 2, _HEIGHT / 2, 7), plan["light"], height=1.6, soft=3
    )
    misprint = plan["misprint"]
    printed = np.stack(
        [
            sample(plate, label.u, label.v, _WIDTH, _HEIGHT)
            for plate in _artwork(size, tuple(sorted(misprint.items())) if misprint else ())
        ],
        axis=2,
    )
    paper = linear(plan["paper"]) * (1 + 0.02 * fractal(random, size, 60, 2))[..., None]
    ink = 1 - plan["ink"] * (1 - printed)  # what the ink lets through
    waves = 0.7 * smooth(random, size, 3, 4)
    body = label.lay(distance, paper * ink**2, height=0.8 + waves, gloss=0.07)
    return Scene(surface, body, (204, 190, 168))


@lru_cache(maxsize=4)
def _artwork(
    size: int, misprint: tuple[tuple[str, object], ...]
) -> tuple[UInt8[np.ndarray, "h w"], ...]:
    """The print's three colours, about two pixels of it to one of the image."""
    said = dict(misprint)
    sheet = Image.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), "white")
    for name in PLATES:
        plate = _plate(name)
        if said.get("plate") == name:
            plate = _spoiled(plate, name, said)
        sheet = ImageChops.multiply(sheet, plate)
    scale = min(2 * size / 256, _FINE)
    sheet = sheet.resize((round(_WIDTH * scale), round(_HEIGHT * scale)), Image.Resampling.BOX)
    return tuple(np.asarray(channel) for channel in sheet.split())


@lru_cache(maxsize=8)
def _plate(name: str) -> Image.Image:
    sheet = Image.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), "white")
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = (edge * _FINE for edge in PLATES[name])
    if name == "brand":
        draw.rectangle((left, top, right, bottom - 10), _BLUE)
        draw.rectangle((left, bottom - 8, right, bottom), _ORANGE)
        draw.polygon([(44, 108), (84, 28), (124, 108), (84, 84)], "white")
        write(draw, (150, 14), "AQUILA", 104, (255, 255, 255), 10)
    elif name == "title":
        write(draw, (left, top - 12), "Hand Soap", 82, _BLUE, 2)
        write(draw, (left, top + 78), "Citrus  250 ml", 54, _BLACK, 2)
    elif name == "picture":
        draw.ellipse((left, top, right, top + right - left), _ORANGE)
        middle, across = (left + right) // 2, top + (right - left) // 2
        draw.ellipse((left + 16, top + 16, right - 16, top + right - left - 16), (252, 214, 130))
        for degrees in range(0, 360, 45):
            turn = np.deg2rad(degrees)
            end = (
                round(middle + 74 * float(np.cos(turn))),
                round(across + 74 * float(np.sin(turn))),
            )
            draw.line((middle, across, *end), _ORANGE, 8)
    elif name == "text":
        for row, line in enumerate(
            ("Aqua, glycerin, citric acid,", "coco glucoside, parfum,", "limonene. Rinse well.")
        ):
            write(draw, (left, top + 35 * row), line, 32, (70, 70, 76))
    elif name == "lot":
        draw.rectangle((left, top, right, bottom), None, _BLACK, 4)
        write(draw, (left + 14, top), "LOT 24817", 50, _BLACK, 2)
        write(draw, (left + 14, top + 52), "EXP 03/28", 50, _BLACK, 2)
    else:
        _bar_code(draw, left, top)
    return sheet


def _bar_code(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    digits = "240041730015"
    module, at = 4, left
    modules = "1010" + "".join(
        "".join(bit * int(width) for bit, width in zip("0101", _BARS[int(d)], strict=True))
        for d in digits[:6]
    )
    modules += "01010" + "".join(
        "".join(bit * int(width) for bit, width in zip("1010", _BARS[int(d)], strict=True))
        for d in digits[6:]
    )
    for number, bit in enumerate(modules + "101"):
        if bit == "1":
            x = at + number * module
            draw.rectangle((x, top, x + module - 1, top + 150), _BLACK)
    write(draw, (left + 12, top + 154), digits, 44, _BLACK, 2)


def _spoiled(plate: Image.Image, name: str, said: dict[str, object]) -> Image.Image:
    """A plate that is shifted, smeared, or has dried nozzles."""
    amount = int(float(str(said["amount"])) * _FINE)
    left, top, right, bottom = (edge * _FINE for edge in PLATES[name])
    if said["how"] == "shifted":
        moved = Image.new("RGB", plate.size, "white")
        moved.paste(
            plate.crop((left, top, right + 1, bottom + 1)), (left + amount, top + amount // 2)
        )
        return moved
    if said["how"] == "smeared":
        smeared = plate
        for step in range(1, 9):
            away = Image.new("RGB", plate.size, "white")
            away.paste(plate, (amount * step // 8, 0))
            faded = Image.blend(away, Image.new("RGB", plate.size, "white"), step / 10)
            smeared = ImageChops.darker(smeared, faded)
        return smeared
    faded = plate.copy()
    draw = ImageDraw.Draw(faded)
    if said["how"] == "missing":
        middle = (top + bottom) // 2
        draw.rectangle((left, middle - amount, right, middle + amount), "white")
    return faded


def misprint_label(
    plan: Plan, random: np.random.Generator, severity: Severity
) -> dict[str, object]:
    """Print one plate beside its place, smeared, or with a band left out."""
    names = list(PLATES)
    how = ("shifted", "smeared", "missing")[pick(random, 3)]
    plan["misprint"] = {
        "plate": names[pick(random, len(names))],
        "how": how,
        "amount": round(between(random, 5, 9) * severity.size, 4),
    }
    return dict(plan["misprint"])


def misplace_label(
    plan: Plan, random: np.random.Generator, severity: Severity
) -> dict[str, object]:
    """Stick the label on askew."""
    side = 1 if random.random() < 0.5 else -1
    plan["angle"] = round(side * (0.06 + between(random, 0.09, 0.16) * severity.size), 4)
    return {"angle": plan["angle"]}
