"""Products that are objects: a screw on a table, a bottle seen from above, a blister of pills."""

from __future__ import annotations

import numpy as np

from mambaad.data.synthetic.noise import (
    Frame,
    Map,
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
from mambaad.data.synthetic.shapes import bevel, both, box, disc, inside, patch, placed, ramp

_SCREW_TIP = 102.0


def plan_screw(random: np.random.Generator) -> Plan:
    """A wood screw of yellow zinc."""
    return {
        "light": draw_light(random),
        "at": [around(random, 0, 6), around(random, 0, 6)],
        "angle": around(random, -0.68, 0.16),
        "roll": between(random, 0, 1),
        "zinc": tinted((252, 224, 156), random, 3),
        "table": tinted((112, 120, 128), random, 4),
        "bend": 0.0,
        "tip": _SCREW_TIP,
        "worn": None,
    }


def build_screw(plan: Plan, frame: Frame) -> Scene:
    """A countersunk head, a plain shank, a thread that runs out into the tip."""
    random = frame.random("table")
    size = frame.size
    sand = grain(random, size, size)
    cloud = fractal(random, size, 3, 3)
    table = linear(plan["table"]) * (1 + 0.05 * cloud + 0.035 * sand)[..., None]
    surface = Surface.of(table, 0.06 * sand, gloss=0.04)
    screw = patch(frame, surface, plan["at"], plan["angle"])

    def lie(u: Map, v: Map) -> Map:
        """Distance from the axis, bent or straight."""
        beside: Map = v - plan["bend"] * np.maximum(u + 40, 0) ** 2 / 4500
        return beside

    def core(u: Map) -> Map:
        radius: Map = np.interp(
            u,
            [-100, -98, -95, -70, -62, 68, 84, _SCREW_TIP],
            [30, 32, 31.5, 13.5, 12.2, 11.0, 7.6, 0.4],
        )
        return radius

    def outline(u: Map, v: Map) -> Map:
        along = both(-100 - u, u - plan["tip"])
        reach = core(u) + 3 * ramp(u, -38, -30) * ramp(u, 100, 80)
        return both(0.92 * (np.abs(lie(u, v)) - reach), along)

    u, v = screw.u, lie(screw.u, screw.v)
    turn = (u + 0.24 * v) / 10.4 + plan["roll"]
    crest = 1 - np.abs(2 * (turn - np.floor(turn)) - 1)
    threaded = ramp(u, -38, -28) * ramp(u, 101, 80)
    if plan["worn"]:
        start, end = plan["worn"]
        threaded = threaded * (1 - ramp(u, start - 3, start) * ramp(u, end + 3, end))
    radius = core(u) + 7.2 * threaded * crest**1.4
    broken = plan["tip"] + (1.6 * np.sin(0.9 * v + 1) if plan["tip"] < _SCREW_TIP else 0.0)
    distance = both(both(np.abs(v) - radius, -100 - u), u - broken)
    # Its flanks are steeper than the camera resolves: a gentler relief, drawn darker below.
    round_body = core(u) + 3.4 * threaded * crest
    height = np.sqrt(np.maximum(round_body**2 - np.minimum(np.abs(v), round_body) ** 2, 0))
    screw.shadow(outline, plan["light"], height=11, soft=8, depth=0.7)
    tone = (
        0.86 - 0.5 * threaded * (0.75 - crest) + 0.04 * smooth(frame.random("zinc"), size, 30, 30)
    )
    zinc = linear(plan["zinc"]) * tone[..., None]
    body = screw.lay(distance, zinc, height=10 + height, gloss=0.35, metal=0.78)
    # Light does not reach the ground of the thread.
    surface.shade(0.7 * body * threaded * (1 - crest) ** 1.5)
    return Scene(surface, body, (236, 226, 206))


def bend_screw(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Bend the shaft."""
    side = 1 if random.random() < 0.5 else -1
    plan["bend"] = round(side * between(random, 5, 9) * severity.strength, 4)
    return {"bend": plan["bend"]}


def break_screw(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Break the tip off, or leave a part of the thread uncut."""
    length = between(random, 18, 38) * severity.size
    if random.random() < 0.5:
        plan["tip"] = round(_SCREW_TIP - length, 4)
        return {"tip": plan["tip"]}
    start = between(random, -25, 40)
    plan["worn"] = [start, round(start + length, 4)]
    return {"worn": plan["worn"]}


def plan_bottle(random: np.random.Generator) -> Plan:
    """A bottle of brown glass, open."""
    return {
        "light": draw_light(random),
        "at": [around(random, 0, 3), around(random, 0, 3)],
        "glass": tinted((134, 78, 34), random, 5),
        "belt": tinted((196, 200, 202), random, 4),
        "lamp": around(random, 0.0, 0.2),
        "depth": [around(random, 0, 2), around(random, 0, 2)],
    }


def build_bottle(plan: Plan, frame: Frame) -> Scene:
    """Belly, shoulder, collar and lip, and the dark inside with its bottom far below."""
    random = frame.random("belt")
    size, light = frame.size, plan["light"]
    sand = grain(random, size, size)
    ridge = 0.5 * np.sin(frame.y * 0.9 + 0.6 * smooth(random, size, 3, 3))
    belt = (
        linear(plan["belt"]) * (0.86 + 0.025 * sand + 0.05 * fractal(random, size, 3, 2))[..., None]
    )
    surface = Surface.of(belt, 0.05 * sand + 0.10 * ridge)
    bottle = patch(frame, surface, plan["at"], 0.0)
    x, y = bottle.u, bottle.v
    r = np.hypot(x, y)

    def outline(u: Map, v: Map) -> Map:
        return disc(u, v, 106)

    bottle.shadow(outline, light, height=14, soft=16, depth=0.5)
    uneven = smooth(frame.random("glass"), size, 6, 6)
    # Radius and height of the glass from the lip outwards.
    height = np.interp(
        r,
        [0, 30, 33, 35, 38, 41, 44, 46, 49, 52, 55, 58, 70, 84, 96, 102, 106],
        [0, 2, 16, 60, 64, 65, 63, 58, 57, 59, 56, 46, 38, 28, 15, 7, 0],
    )
    height = height + 0.8 * uneven
    thin = np.interp(  # how much light comes through the glass
        r,
        [0, 20, 32, 34, 40, 46, 48, 52, 56, 60, 80, 97, 103, 106],
        [0.5, 0.42, 0.16, 0.5, 0.95, 0.5, 0.35, 0.8, 0.4, 0.5, 0.75, 1.15, 0.55, 0.25],
    )
    glass = linear(plan["glass"]) * (thin * (1 + 0.10 * uneven))[..., None]
    body = bottle.lay(disc(x, y, 106), glass, height=height, gloss=0.9, metal=0.10)

    # The far bottom, its ring of light a little off the middle as the camera is.
    deep = np.hypot(x - plan["depth"][0], y - plan["depth"][1])
    bottom = np.exp(-(((deep - 20) / 3.5) ** 2)) * 0.5 + 0.45 * ramp(deep, 15, 0)
    surface.cover(0.8 * bottom * inside(r - 31, 2.0), linear(plan["glass"]) * 2.2)
    surface.shade(0.75 * inside(r - 32, 3.0) * ramp(r, 12, 32))

    # A ring lamp stands in the glass as arcs; its joints are dark.
    angle = np.arctan2(y, x) - plan["lamp"]
    lamps = ramp(np.abs(np.sin(1.5 * angle + 0.8)), 0.12, 0.3)
    wide = 0.62 * np.exp(-(((r - 76) / 3.2) ** 2)) * lamps
    fine = 0.85 * np.exp(-(((r - 39.5) / 1.5) ** 2)) * (0.45 + 0.55 * lamps)
    collar = 0.5 * np.exp(-(((r - 52) / 1.1) ** 2)) * lamps
    edge = 0.4 * np.exp(-(((r - 100) / 1.6) ** 2)) * (0.5 + 0.5 * np.cos(angle - 2.2))
    surface.cover(np.clip(wide + fine + collar + edge, 0, 1), linear((250, 246, 236)))
    return Scene(surface, body * inside(r - 103, 3.0) * (1 - inside(r - 34, 1.0)), (226, 190, 150))


_PITCH = 54.0


def plan_blister(random: np.random.Generator) -> Plan:
    """A card of twelve pills, each lying a little differently in its pocket."""
    pill = tinted((226, 134, 104), random, 5)
    return {
        "light": draw_light(random),
        "at": [around(random, 0, 3.5), around(random, 0, 3.5)],
        "angle": around(random, 0.0, 0.035),
        "foil": tinted((204, 207, 212), random, 3),
        "table": tinted((58, 74, 98), random, 4),
        "pills": [
            {
                "x": around(random, 0, 1.4),
                "y": around(random, 0, 1.4),
                "turn": between(random, 0, 3.1416),
                "tone": around(random, 1.0, 0.05),
                "colour": pill,
                "lost": 0.0,
                "missing": False,
            }
            for _ in range(12)
        ],
    }


def build_blister(plan: Plan, frame: Frame) -> Scene:
    """Embossed foil, clear pockets with a rim, scored pills in them."""
    random = frame.random("card")
    size, light = frame.size, plan["light"]
    sand = grain(random, size, size)
    table = (
        linear(plan["table"]) * (1 + 0.05 * sand + 0.08 * fractal(random, size, 3, 3))[..., None]
    )
    surface = Surface.of(table, 0.05 * sand)
    card = patch(frame, surface, plan["at"], plan["angle"])
    u, v = card.u, card.v

    def outline(a: Map, b: Map) -> Map:
        return box(a, b, 117, 89, 11)

    card.shadow(outline, light, height=6, soft=6)
    pitch = max(5.0, 4 * frame.unit)
    knurl = np.cos(2 * np.pi * (u + v) / pitch) + np.cos(2 * np.pi * (u - v) / pitch)
    warp = 1.4 * smooth(random, size, 4, 5)
    edge = outline(u, v)
    foil_height = 4 + 0.16 * knurl + warp + bevel(edge, 4, 1.0)
    foil = linear(plan["foil"]) * (0.93 + 0.04 * knurl)[..., None]
    body = card.lay(edge, foil, height=foil_height, gloss=0.25, metal=0.62)

    for number, pill in enumerate(plan["pills"]):
        column, row = number % 4, number // 4
        in_card = ((column - 1.5) * _PITCH, (row - 1) * _PITCH)
        at = placed(*in_card, plan["angle"], plan["at"])
        pocket = patch(frame, surface, at, 0.0, 27)
        r = np.hypot(pocket.u, pocket.v)
        # The clear film: flat foil seen through it, a moulded rim around it.
        rim = np.exp(-(((r - 23) / 1.7) ** 2))
        well = inside(r - 23, 2.0)
        pocket.surface.cover(0.85 * well, linear(plan["foil"]) * 0.62, height=4.0, metal=0.25)
        pocket.surface.height += 1.9 * rim
        pocket.surface.gloss += 0.5 * rim
        pocket.surface.shade(0.45 * well * ramp(r, 16, 22))
        if not pill["missing"]:
            _lay_pill(light, pill, frame, surface, at)
        # The lamp in the dome.
        angle = np.arctan2(pocket.v, pocket.u) - light["azimuth"]
        glint = np.exp(-(((r - 19.5) / 1.2) ** 2)) * ramp(np.cos(angle), 0.55, 0.9)
        glint += 0.45 * np.exp(-(((r - 20) / 1.0) ** 2)) * ramp(-np.cos(angle), 0.8, 1.0)
        pocket.surface.cover(np.clip(0.8 * glint, 0, 1), linear((255, 255, 255)))
    return Scene(surface, body, (236, 236, 238))


def _lay_pill(
    light: dict[str, float], pill: Plan, frame: Frame, surface: Surface, at: tuple[Number, Number]
) -> None:
    shape = patch(frame, surface, (at[0] + pill["x"], at[1] + pill["y"]), pill["turn"], 27)
    u, v = shape.u, shape.v
    lost = pill["lost"]

    def outline(a: Map, b: Map) -> Map:
        whole = disc(a, b, 17)
        if not lost:
            return whole
        return both(whole, a + 1.8 * np.sin(b * 0.33) + 0.7 * np.sin(b * 0.8) - 17 + lost)

    distance = outline(u, v)
    shape.shadow(outline, light, height=5, soft=4)
    dome = bevel(disc(u, v, 17), 13, 5.5)
    score = np.exp(-((v / 1.3) ** 2)) * inside(np.abs(u) - 13, 3.0)
    colour = linear(pill["colour"]) * pill["tone"]
    shape.lay(distance, colour, height=7 + dome - 1.3 * score, gloss=0.16)
    shape.surface.shade(0.25 * score * inside(distance, 1.0))


def empty_pocket(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Leave a pill out, or a part of it broken off."""
    number = pick(random, 12)
    pill = plan["pills"][number]
    if random.random() < 0.5:
        pill["missing"] = True
    else:
        pill["lost"] = round(min(between(random, 9, 17) * severity.size, 24), 4)
    return {"pill": number, **pill}


def other_pill(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Put a pill of another product into a pocket."""
    number = pick(random, 12)
    others = ((236, 232, 222), (240, 206, 96), (132, 170, 214), (190, 92, 110))
    other = np.array(others[pick(random, 4)])
    share = min(0.75 * severity.strength, 1.0)
    own = np.array(plan["pills"][number]["colour"])
    plan["pills"][number]["colour"] = [round(c, 2) for c in (own + share * (other - own)).tolist()]
    return {"pill": number, "colour": plan["pills"][number]["colour"]}
