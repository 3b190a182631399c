"""The logical class: a tray with a set of parts, each with its place.

Every part of a wrong kit is a good one. What is wrong is which parts lie where, and how many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mambaad.data.synthetic.noise import Frame, Map, Number, around, fractal, grain, pick
from mambaad.data.synthetic.optics import Colour, Surface, draw_light, linear, tinted
from mambaad.data.synthetic.scene import Plan, Scene, Severity
from mambaad.data.synthetic.shapes import (
    Patch,
    bevel,
    box,
    disc,
    either,
    hexagon,
    inside,
    patch,
    placed,
    ramp,
)

_PITCH_U, _PITCH_V = 75.0, 92.0
_HALF_U, _HALF_V = 34.0, 42.5
# What belongs into each compartment (three above, three below), and where in it.
PLACES: tuple[tuple[tuple[str, float, float], ...], ...] = (
    (("red cap", 0, 0),),
    (("blue cap", 0, 0),),
    (("yellow cap", 0, 0),),
    (("nut", -13, -16), ("nut", 11, 15)),
    (("washer", -13, -21), ("washer", 12, -2), ("washer", -12, 19)),
    (("brass bolt", 0, -22), ("steel bolt", 0, 22)),
)
# Where one more fits in, however loosely the others lie.
_FREE = {3: ("nut", 17, -26), 4: ("washer", 18, 28.5)}
_CAPS: dict[str, Colour] = {
    "red cap": (196, 44, 38),
    "blue cap": (36, 84, 170),
    "yellow cap": (232, 182, 40),
}
_METALS: dict[str, Colour] = {
    "nut": (186, 189, 194),
    "washer": (172, 174, 178),
    "brass bolt": (232, 186, 88),
    "steel bolt": (206, 208, 214),
}


def plan_kit(random: np.random.Generator) -> Plan:
    """Parts lie anyhow within their compartments."""
    return {
        "light": draw_light(random),
        "at": [around(random, 0, 3.5), around(random, 0, 3.5)],
        "angle": around(random, 0.0, 0.025),
        "tray": tinted((74, 78, 84), random, 4),
        "table": tinted((168, 172, 170), random, 4),
        "places": [
            [_part(random, kind, x, y) for kind, x, y in compartment] for compartment in PLACES
        ],
    }


def _part(
    random: np.random.Generator, kind: str, x: Number, y: Number, loose: Number | None = None
) -> dict[str, Any]:
    loose = loose or (4.0 if "cap" in kind else 2.5)
    turn = 0.18 if "bolt" in kind else 3.1416
    return {
        "kind": kind,
        "x": around(random, x, loose),
        "y": around(random, y, loose),
        "turn": around(random, 0.0, turn),
        "tone": around(random, 1.0, 0.05),
    }


def build_kit(plan: Plan, frame: Frame) -> Scene:
    """Tray, compartments, parts."""
    random = frame.random("tray")
    size, light = frame.size, plan["light"]
    sand = grain(random, size, size)
    cloud = fractal(random, size, 3, 3)
    table = linear(plan["table"]) * (1 + 0.03 * sand + 0.05 * cloud)[..., None]
    surface = Surface.of(table, 0.05 * sand)
    tray = patch(frame, surface, plan["at"], plan["angle"])
    u, v = tray.u, tray.v

    def outline(a: Map, b: Map) -> Map:
        return box(a, b, 119, 98, 12)

    tray.shadow(outline, light, height=9, soft=8)
    edge = outline(u, v)
    plastic = linear(plan["tray"]) * (1 + 0.04 * sand + 0.05 * cloud)[..., None]
    body = tray.lay(edge, plastic, height=14 + bevel(edge, 5, 3) + 0.08 * sand, gloss=0.10)
    column = np.clip(np.floor(u / _PITCH_U + 1.5), 0, 2) - 1
    row = np.where(v < 0, -0.5, 0.5)
    well = box(u - column * _PITCH_U, v - row * _PITCH_V, _HALF_U, _HALF_V, 9)
    floor = ramp(well, 1.0, -3.5)
    surface.height -= 11 * floor
    surface.shade(0.25 * floor)
    # The walls' shadow on the floor, away from the lamp.
    x, y = float(np.cos(light["azimuth"])), float(np.sin(light["azimuth"]))
    moved = box(u - column * _PITCH_U + 7 * x, v - row * _PITCH_V + 7 * y, _HALF_U, _HALF_V, 9)
    surface.shade(0.55 * inside(well, 2.0) * ramp(moved, -6, 2))
    for number, compartment in enumerate(plan["places"]):
        middle = ((number % 3 - 1) * _PITCH_U, (number // 3 - 0.5) * _PITCH_V)
        for part in compartment:
            in_tray = (middle[0] + part["x"], middle[1] + part["y"])
            at = placed(*in_tray, plan["angle"], plan["at"])
            _lay_part(patch(frame, surface, at, plan["angle"] + part["turn"], 44), part, light)
    return Scene(surface, body, (120, 122, 126))


def _lay_part(place: Patch, part: dict[str, Any], light: dict[str, float]) -> None:
    kind, u, v = part["kind"], place.u, place.v
    if kind in _CAPS:
        _lay_cap(place, linear(_CAPS[kind]) * part["tone"], light)
        return
    metal = linear(_METALS[kind]) * part["tone"]
    if kind.endswith("bolt"):
        _lay_bolt(place, metal, light)
    elif kind == "nut":
        place.shadow(lambda a, b: hexagon(a, b, 13), light, height=7, soft=3)
        bore = disc(u, v, 6.4)
        distance = np.maximum(hexagon(u, v, 13), -bore)
        # Turned corners: the top is a disc a little smaller than the hexagon.
        top = 8 + bevel(distance, 1.6, 1.0) - 1.6 * ramp(disc(u, v, 12.2), 0, 2.5)
        thread = 0.5 * np.sin(5 * np.hypot(u, v)) * inside(bore - 1.5, 1.0)
        place.lay(distance, metal, height=top + thread, gloss=0.35, metal=0.72)
        place.surface.shade(0.7 * inside(bore, 2.0))
    else:
        place.shadow(lambda a, b: np.maximum(disc(a, b, 13), 6 - np.hypot(a, b)), light, height=2.5)
        distance = np.maximum(disc(u, v, 13), -disc(u, v, 6))
        lathe = 0.10 * np.sin(3.1 * np.hypot(u, v))
        top = 5 + bevel(distance, 1.5, 1.0) + lathe
        place.lay(distance, metal, height=top, gloss=0.3, metal=0.68)


def _lay_cap(place: Patch, plastic: Any, light: dict[str, float]) -> None:
    u, v = place.u, place.v
    r = np.hypot(u, v)
    place.shadow(lambda a, b: disc(a, b, 25), light, height=11, soft=6)
    angle = np.arctan2(v, u)
    ribs = 0.5 * np.cos(36 * angle) * ramp(r, 20.5, 23)
    height = np.interp(r, [0, 11, 13, 18.5, 21, 24, 25.2], [13, 13, 15.5, 15.5, 14, 8, 3])
    colour = plastic * (1 + 0.25 * ribs)[..., None]
    place.lay(r - 25 - 0.5 * ribs, colour, height=height + 0.6 * ribs, gloss=0.55)


def _lay_bolt(place: Patch, metal: Any, light: dict[str, float]) -> None:
    u, v = place.u, place.v

    def outline(a: Map, b: Map) -> Map:
        return either(box(a + 19, b, 5, 11.5, 1.5), box(a - 4, b, 20, 6.2, 2))

    place.shadow(outline, light, height=6, soft=3)
    turn = (u + 0.2 * v) / 4.0
    crest = (1 - np.abs(2 * (turn - np.floor(turn)) - 1)) * ramp(u, -6, -3)
    radius = 5.4 + 1.3 * crest
    shaft = np.maximum(np.abs(v) - radius, np.maximum(-16 - u, u - 24))
    height = 5 + np.sqrt(np.maximum(radius**2 - v**2, 0))
    place.lay(shaft, metal * (0.6 + 0.4 * crest)[..., None], height=height, gloss=0.3, metal=0.75)
    # A hexagonal head from the side: three faces.
    head = box(u + 19, v, 5, 11.5, 1.5)
    faces = np.interp(np.abs(v), [0, 5.6, 6.2, 11.5], [12, 12, 11, 5])
    place.lay(head, metal, height=5 + faces + bevel(head, 1.5, 0.8), gloss=0.35, metal=0.75)


def _rank(random: np.random.Generator, severity: Severity, count: int) -> int:
    """Which of ``count`` choices, the plainest first, a difficulty leads to."""
    hardness = (1.45 - severity.size) / 0.9
    return min(int((0.5 * hardness + 0.5 * random.random()) * count), count - 1)


def lose_from_kit(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Leave one part out."""
    compartment = (0, 1, 2, 3, 5, 4)[_rank(random, severity, 6)]
    parts = plan["places"][compartment]
    lost = parts.pop(pick(random, len(parts)))
    return {"compartment": compartment, "part": lost["kind"]}


def add_to_kit(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Put one nut or washer too many into a compartment."""
    compartment = sorted(_FREE)[pick(random, len(_FREE))]
    kind, x, y = _FREE[compartment]
    plan["places"][compartment].append(_part(random, kind, x, y, loose=1.0))
    return {"compartment": compartment, "part": kind}


def swap_in_kit(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Exchange what lies in two compartments."""
    pairs = ((0, 4), (2, 3), (0, 5), (0, 2), (1, 2), (0, 1), (3, 4))
    one, other = pairs[_rank(random, severity, len(pairs))]
    places = plan["places"]
    places[one], places[other] = places[other], places[one]
    return {"compartments": [one, other]}


def mistake_in_kit(
    plan: Plan, random: np.random.Generator, severity: Severity
) -> dict[str, object]:
    """Put a good part of another kind in the place of one."""
    mistakes = (
        (0, 0, "yellow cap"),
        (2, 0, "blue cap"),
        (1, 0, "red cap"),
        (5, 1, "brass bolt"),
        (5, 0, "steel bolt"),
        (3, 0, "washer"),
        (4, 1, "nut"),
    )
    compartment, place, kind = mistakes[_rank(random, severity, len(mistakes))]
    part = plan["places"][compartment][place]
    was, part["kind"] = part["kind"], kind
    return {"compartment": compartment, "instead_of": was, "part": kind}
