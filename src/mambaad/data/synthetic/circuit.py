"""A circuit board: traces under green varnish, chips, small parts, pads and white print."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from mambaad.data.synthetic.noise import (
    SIDE,
    Frame,
    Number,
    around,
    between,
    fractal,
    grain,
    pick,
    smooth,
)
from mambaad.data.synthetic.optics import Surface, draw_light, linear, tinted
from mambaad.data.synthetic.scene import Plan, Scene, Severity
from mambaad.data.synthetic.shapes import (
    Patch,
    bevel,
    box,
    disc,
    patch,
    placed,
    ramp,
    sample,
    write,
)

_Trace = list[tuple[Number, Number]]
_FINE = 4  # pixels of the artwork in a design unit
_BOARD = SIDE + 48  # the artwork's side: more than any shifted image sees
_SOLDER, _GOLD = (206, 208, 212), (226, 188, 104)
# Name: kind, place on the board and quarter turns. Print and pads stay where the design has them.
PARTS: dict[str, tuple[str, float, float, int]] = {
    "U1": ("processor", -34, -18, 0),
    "U2": ("driver", 70, -66, 0),
    "C1": ("can", 72, 24, 0),
    "Y1": ("crystal", -72, -92, 0),
    "D1": ("diode", 24, 78, 0),
    "C2": ("ceramic", 20, -56, 1),
    "C3": ("ceramic", 20, -18, 1),
    "C4": ("ceramic", 20, 20, 1),
    "C5": ("ceramic", -34, -76, 0),
    "R1": ("resistor", -88, 72, 1),
    "R2": ("resistor", -66, 72, 1),
    "R3": ("resistor", -44, 72, 1),
    "R4": ("resistor", -22, 72, 1),
    "R5": ("resistor", 0, 72, 1),
}
# Half length, half width, height.
_BODIES = {
    "processor": (27.0, 27.0, 5.0),
    "driver": (15.0, 25.0, 5.0),
    "can": (22.0, 22.0, 16.0),
    "crystal": (20.0, 8.5, 5.0),
    "diode": (10.0, 6.0, 4.0),
    "ceramic": (9.0, 5.5, 4.0),
    "resistor": (9.0, 5.5, 2.2),
}


def plan_circuit(random: np.random.Generator) -> Plan:
    """One board of a series; a placing machine's tolerance for every part."""
    return {
        "light": draw_light(random),
        "at": [around(random, 0, 4), around(random, 0, 4)],
        "angle": around(random, 0.0, 0.02),
        "varnish": tinted((26, 104, 66), random, 4),
        "parts": {
            name: {
                "x": around(random, 0, 0.5),
                "y": around(random, 0, 0.5),
                "turn": around(random, 0, 0.02),
                "tone": around(random, 1.0, 0.06),
            }
            for name in PARTS
        },
        "print": {"x": around(random, 0, 0.4), "y": around(random, 0, 0.4)},
    }


def build_circuit(plan: Plan, frame: Frame) -> Scene:
    """Board, copper, print, then every part on its pads."""
    random = frame.random("board")
    size = frame.size
    base = Surface.of(np.zeros((size, size, 3)), np.zeros((size, size)))
    board = patch(frame, base, plan["at"], plan["angle"])
    copper, pads = (
        sample(layer, board.u, board.v, _BOARD, _BOARD)
        for layer in _artwork(size, "copper", "pads")
    )
    shift = plan["print"]
    (silk,) = (
        sample(layer, board.u - shift["x"], board.v - shift["y"], _BOARD, _BOARD)
        for layer in _artwork(size, "silk")
    )
    if "gap" in shift:
        silk *= 1 - (
            np.hypot(board.u - shift["gap"][0], board.v - shift["gap"][1]) < shift["gap"][2]
        )
    weave = 0.03 * (np.sin(board.u * 1.3) + np.sin(board.v * 1.3))  # of the glass cloth
    uneven = fractal(random, size, 4, 3)
    tone = 0.74 + 0.06 * uneven + weave + 0.9 * copper + 0.02 * grain(random, size, size)
    varnish = linear(plan["varnish"]) * tone[..., None]
    surface = Surface.of(varnish, 1.1 * copper + 0.12 * smooth(random, size, 40, 40), gloss=0.16)
    surface.cover(pads, linear(_GOLD), height=1.4, metal=0.7, gloss=0.3)
    surface.cover(0.92 * silk, linear((236, 238, 234)), gloss=0.05)

    for x in (-104.0, 104.0):
        hole = patch(frame, surface, placed(x, -104, plan["angle"], plan["at"]), 0.0, 16)
        ring = disc(hole.u, hole.v, 12)
        hole.lay(ring, linear(_GOLD), height=1.5, gloss=0.3, metal=0.75)
        hole.lay(ring + 4.5, linear((22, 24, 24)), height=-2.0)
        hole.surface.shade(0.7 * ramp(ring, -4.5, -5.5))
    for name, (kind, x, y, quarter) in PARTS.items():
        part = plan["parts"][name]
        if not part.get("missing"):
            at = placed(x + part["x"], y + part["y"], plan["angle"], plan["at"])
            angle = plan["angle"] + quarter * np.pi / 2 + part["turn"]
            place = patch(frame, surface, at, float(angle), max(_BODIES[kind][:2]) * 1.45 + 14)
            _place(place, kind, part, plan["light"])
    return Scene(surface, np.ones((size, size)), (196, 150, 96))


def _place(part: Patch, kind: str, state: dict[str, Any], light: dict[str, float]) -> None:
    half_u, half_v, height = _BODIES[kind]
    u, v = part.u, part.v
    if kind == "can":
        _place_can(part, state, light)
        return
    if kind in ("processor", "driver"):
        _solder_pins(part, kind, state)
    part.shadow(lambda a, b: box(a, b, half_u, half_v, 1), light, height=height, soft=2.5)
    if kind in ("ceramic", "resistor", "diode"):
        # Solder runs up the metal ends.
        ends = box(np.abs(u) - half_u, v, 3.4, half_v, 2)
        part.lay(ends, linear(_SOLDER), height=bevel(ends, 3, height), gloss=0.5, metal=0.75)
    if kind == "crystal":
        distance = box(u, v, half_u, half_v, half_v - 0.5)
        rise = height + bevel(distance, 3, 2.5)
        part.lay(distance, linear((214, 214, 212)), height=rise, gloss=0.4, metal=0.8)
        return
    colour = {
        "processor": (38, 39, 42),
        "driver": (36, 36, 40),
        "diode": (46, 42, 44),
        "ceramic": (178, 142, 100),
        "resistor": (30, 30, 34),
    }[kind]
    length = half_u - (2.6 if kind in ("ceramic", "resistor") else 0)
    distance = box(u, v, length, half_v, 1.0)
    rise = height + bevel(distance, 1.8, 1.6)
    dots = (np.hypot(u + half_u - 6, v + half_v - 6) < 2.6) & (half_u > 14)
    body = linear(colour) * (state["tone"] - 0.35 * dots)[..., None]
    coverage = part.lay(distance, body, height=rise - 0.7 * dots, gloss=0.10)
    if kind == "ceramic":
        return
    if kind == "diode":
        band = coverage * (np.abs(u - 5) < 1.6)
        part.surface.cover(0.9 * band, linear((220, 220, 220)))
        return
    ink = sample(_marking(kind), u, v, 2 * half_u, 2 * half_v)
    part.surface.cover(0.8 * ink * coverage, linear((206, 208, 206)))


def _solder_pins(part: Patch, kind: str, state: dict[str, Any]) -> None:
    half_u, half_v, _ = _BODIES[kind]
    sides = ((part.u, part.v, half_u, half_v), (part.v, part.u, half_v, half_u))
    for number, (out, along, half, span) in enumerate(sides[: 2 if kind == "processor" else 1]):
        pitch = 2 * (span - 2) / (7 if kind == "processor" else 5)
        bent = state.get("bent", (9, 0, 0.0))
        here = np.floor(along / pitch).astype(int)
        pin = along - (here + 0.5) * pitch
        if bent[0] == number:
            two = (here == bent[1]) | (here == bent[1] + 1)
            pin = pin - bent[2] * two * ramp(out, half - 1, half + 7)
        distance = box(np.abs(out) - half - 3, pin, 5.5, 0.24 * pitch, 0.6)
        distance = np.maximum(distance, np.abs(along) - span + 1)
        drop = 3.2 - 2.2 * ramp(np.abs(out), half + 1, half + 4) + bevel(distance, 1.2, 0.8)
        part.surface.shade(0.4 * ramp(distance, 1.5, -0.5))
        part.lay(distance, linear(_SOLDER), height=drop, gloss=0.4, metal=0.75)


def _place_can(part: Patch, state: dict[str, Any], light: dict[str, float]) -> None:
    u, v = part.u, part.v
    base = box(u, v, 22, 22, 5)
    part.shadow(lambda a, b: box(a, b, 22, 22, 5), light, height=6, soft=3)
    part.lay(base, linear((34, 34, 36)), height=2 + bevel(base, 2, 1.5), gloss=0.1)
    part.shadow(lambda a, b: disc(a, b, 19.5), light, height=8, soft=4)
    top = disc(u, v, 19.5)
    lid = disc(u, v, 17)
    rise = 12 + bevel(top, 2.5, 3.0) - 1.2 * ramp(lid, 0.8, -0.8)
    silver = linear((222, 223, 226)) * state["tone"] * np.ones((*u.shape, 1))
    silver = silver + (ramp(u, 6.5, 7.5) * ramp(lid, 0.5, -0.5))[..., None] * (
        linear((40, 42, 60)) - silver
    )
    cross = np.exp(-((np.minimum(np.abs(u + v), np.abs(u - v)) / 1.1) ** 2)) * ramp(lid, -4, -6)
    part.lay(top, silver, height=rise - 0.6 * cross, gloss=0.3, metal=0.55)


@lru_cache(maxsize=8)
def _marking(kind: str) -> UInt8[np.ndarray, "h w"]:
    half_u, half_v, _ = _BODIES[kind]
    sheet = Image.new("L", (round(2 * half_u) * _FINE, round(2 * half_v) * _FINE))
    draw = ImageDraw.Draw(sheet)
    if kind == "processor":
        for row, line in enumerate(("MB2407", "C-16FX", "2431 K")):
            write(draw, (36, 56 + 48 * row), line, 40, 255, 2)
    elif kind == "driver":
        write(draw, (20, 70), "LM27", 38, 255)
        write(draw, (20, 112), "408", 38, 255)
    else:
        write(draw, (16, -1), "103", 34, 255)
    return np.asarray(sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.BOX))


@lru_cache(maxsize=8)
def _artwork(size: int, *layers: str) -> tuple[UInt8[np.ndarray, "h w"], ...]:
    """Layers of the board, about two pixels of them to one of the image."""
    scale = min(2 * size / SIDE, _FINE)
    side = round(_BOARD * scale)
    return tuple(
        np.asarray(_draw_layer(layer).resize((side, side), Image.Resampling.BOX))
        for layer in layers
    )


def _draw_layer(layer: str) -> Image.Image:
    sheet = Image.new("L", (_BOARD * _FINE, _BOARD * _FINE))
    draw = ImageDraw.Draw(sheet)
    if layer == "copper":
        for trace in _traces():
            _trace(draw, trace)
    elif layer == "pads":
        for number in range(12):
            _pad(draw, -94 + 17 * number, 108, 4.6, square=number == 0)
        for x, y in _vias():
            _pad(draw, x, y, 2.6)
        for kind, x, y, quarter in PARTS.values():
            half_u, half_v, _ = _BODIES[kind]
            if kind not in ("processor", "driver", "can"):
                for side in (-1, 1):
                    dx, dy = placed(side * half_u, 0, quarter * np.pi / 2, (x, y))
                    a, b = (4.5, half_v + 1.2) if quarter == 0 else (half_v + 1.2, 4.5)
                    draw.rectangle(
                        [_pixel(dx - a), _pixel(dy - b), _pixel(dx + a), _pixel(dy + b)], 255
                    )
    else:
        _print(draw)
    return sheet


def _print(draw: ImageDraw.ImageDraw) -> None:
    for name, (kind, x, y, quarter) in PARTS.items():
        half = _BODIES[kind][quarter % 2], _BODIES[kind][1 - quarter % 2]
        if kind in ("processor", "driver"):
            a, b = half[0] + 10, half[1] + (10 if kind == "processor" else 3)
        else:
            a, b = half[0] + (7 if not quarter else 3), half[1] + (7 if quarter else 3)
        draw.rectangle([_pixel(x - a), _pixel(y - b), _pixel(x + a), _pixel(y + b)], None, 255, 3)
        write(draw, (_pixel(x - a), _pixel(y - b) - 44), name, 36, 255)
    for number in range(12):
        x = -94 + 17 * number
        draw.rectangle([_pixel(x - 8), _pixel(99), _pixel(x + 8), _pixel(117)], None, 255, 3)
    write(draw, (_pixel(-60), _pixel(84)), "J1", 36, 255)
    write(draw, (_pixel(44), _pixel(60)), "CTRL-7  rev B", 46, 255, 2)
    write(draw, (_pixel(-112), _pixel(34)), "2431", 36, 255)


def _traces() -> list[_Trace]:
    """Polylines with turns of 45 degrees, as routers draw them."""
    traces: list[_Trace] = []
    for n in range(8):
        y = -37 + 5.5 * n
        traces.append([(-66, y), (-76 - 3 * n, y), (-104 + n, y + 28 - 4 * n), (-104 + n, 140)])
    for n in range(5):
        x = -88 + 22 * n
        traces.append([(x, 82), (x, 90), (x + 5 + 2 * n, 96), (x + 5 + 2 * n, 108)])
        traces.append([(x, 62), (x, 48 - 2 * n), (-54 + 5.5 * n, 34), (-54 + 5.5 * n, 14)])
    for n in range(4):
        y = -36 + 11 * n
        traces.append([(-2, y), (36 + 3 * n, y), (48 + 2 * n, y - 12), (48 + 2 * n, -80 + 10 * n)])
        traces.append(
            [(-50 + 9 * n, -50), (-50 + 9 * n, -62), (-66 + 6 * n, -78), (-66 + 6 * n, -140)]
        )
        traces.append(
            [(90, -80 + 10 * n), (98 + 4 * n, -80 + 10 * n), (108 + 5 * n, -60), (108 + 5 * n, 140)]
        )
    traces += [
        [(60, 24), (38, 24), (26, 36), (26, 66)],
        [(84, 44), (84, 56), (98, 70), (98, 108)],
        [(34, 78), (58, 78), (72, 92), (72, 108)],
        [(20, -66), (20, -96), (34, -110), (120, -110)],
    ]
    return traces


def _vias() -> _Trace:
    return [
        *((-2 + 14 * (n % 2) * 0.5, -36 + 11 * n) for n in range(4)),
        *((40, -96 + 9 * n) for n in range(3)),
        *((-108 + 12 * n, -58) for n in range(3)),
        (26, 66), (38, 24), (98, 70), (-84, 20), (-58, 46), (104, -20), (108, 4),
    ]  # fmt: skip


def _pixel(value: Number) -> int:
    return round((value + _BOARD / 2) * _FINE)


def _trace(draw: ImageDraw.ImageDraw, trace: _Trace) -> None:
    points = [(_pixel(x), _pixel(y)) for x, y in trace]
    draw.line(points, 255, 9, joint="curve")


def _pad(
    draw: ImageDraw.ImageDraw, x: Number, y: Number, radius: Number, square: bool = False
) -> None:
    edges = [_pixel(x - radius), _pixel(y - radius), _pixel(x + radius), _pixel(y + radius)]
    if square:
        draw.rectangle(edges, 255)
    else:
        draw.ellipse(edges, 255)
    hole = 0.45 * radius
    draw.ellipse([_pixel(x - hole), _pixel(y - hole), _pixel(x + hole), _pixel(y + hole)], 0)


def lose_part(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Leave a part out; the harder, the smaller."""
    order = sorted(PARTS, key=lambda name: -_BODIES[PARTS[name][0]][0] * _BODIES[PARTS[name][0]][1])
    hardness = (1.45 - severity.size) / 0.9
    rank = 0.55 * hardness + 0.45 * random.random()
    name = order[min(int(rank * len(order)), len(order) - 1)]
    plan["parts"][name]["missing"] = True
    return {"part": name}


def misplace_part(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Place a part askew and beside its pads."""
    name = list(PARTS)[pick(random, len(PARTS))]
    side = 1 if random.random() < 0.5 else -1
    state = plan["parts"][name]
    state["turn"] = round(side * between(random, 0.3, 0.6) * severity.size, 4)
    state["x"] = round(side * between(random, 3, 6) * severity.size, 4)
    return {"part": name, **state}


def bend_pin(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Bend two neighbouring legs of the processor."""
    side, pin = pick(random, 2), pick(random, 5) - 2
    amount = round((1 if random.random() < 0.5 else -1) * 5.5 * severity.size, 4)
    plan["parts"]["U1"]["bent"] = [side, pin, amount]
    return {"part": "U1", "bent": [side, pin, amount]}


def misprint_board(
    plan: Plan, random: np.random.Generator, severity: Severity
) -> dict[str, object]:
    """Shift the white print, or lose a piece of it."""
    if random.random() < 0.5:
        turn = between(random, 0, 6.2832)
        away = between(random, 3.0, 5.0) * severity.size
        plan["print"] = {
            "x": round(away * float(np.cos(turn)), 4),
            "y": round(away * float(np.sin(turn)), 4),
        }
    else:
        where = ((92, 66), (60, 66), (-34, -55), (72, -1), (-26, 100), (60, 100))[pick(random, 6)]
        plan["print"]["gap"] = [*where, round(between(random, 14, 22) * severity.size, 4)]
    return dict(plan["print"])
