"""Products that are one surface: woven fabric, brushed metal, wood, glazed tile, leather."""

from __future__ import annotations

import numpy as np

from mambaad.data.synthetic.noise import (
    Frame,
    around,
    between,
    cells,
    fractal,
    grain,
    pick,
    smooth,
    streaks,
)
from mambaad.data.synthetic.optics import Surface, draw_light, linear, tinted
from mambaad.data.synthetic.scene import Plan, Scene, Severity
from mambaad.data.synthetic.shapes import bevel, box, inside, ramp, turned


def plan_fabric(random: np.random.Generator) -> Plan:
    """A plain weave of two yarns."""
    return {
        "light": draw_light(random),
        "angle": around(random, 0.0, 0.05),
        "shift": [between(random, 0, 2), between(random, 0, 2)],
        "period": around(random, 10.5, 0.4),
        "warp": tinted((64, 84, 122), random, 4),
        "weft": tinted((150, 160, 174), random, 4),
        "snag": None,
    }


def build_fabric(plan: Plan, frame: Frame) -> Scene:
    """Yarns over and under each other, each a little thicker or paler than the next."""
    random = frame.random("weave")
    period = max(plan["period"], 6 * frame.unit)  # no finer than the camera resolves
    u, v = turned(frame.x, frame.y, plan["angle"])
    u = u / period + plan["shift"][0] + 0.22 * smooth(random, frame.size, 5, 5)
    v = v / period + plan["shift"][1] + 0.22 * smooth(random, frame.size, 5, 5)
    if plan["snag"]:
        snag = plan["snag"]
        away = np.hypot((frame.x - snag["x"]) / 2.2, frame.y - snag["y"]) / snag["radius"]
        v = v - snag["pull"] * np.exp(-2 * away**2)
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    across_warp, across_weft = 2 * (u - column) - 1, 2 * (v - row) - 1
    thick = 0.82 + 0.3 * random.random((2, 512))
    warp_thick, weft_thick = thick[0][column % 512], thick[1][row % 512]
    warp = np.sqrt(np.maximum(1 - (across_warp / warp_thick) ** 2, 0))
    weft = np.sqrt(np.maximum(1 - (across_weft / weft_thick) ** 2, 0))
    warp += 0.75 * np.cos(np.pi * (v - 0.5)) * np.where(column % 2, -1, 1)
    weft -= 0.75 * np.cos(np.pi * (u - 0.5)) * np.where(row % 2, -1, 1)
    warp_up = ramp(warp - weft, -0.12, 0.12)

    twist = np.sin(2 * np.pi * (0.5 * across_warp + 2.3 * v)) * warp_up
    twist += np.sin(2 * np.pi * (0.5 * across_weft + 2.3 * u)) * (1 - warp_up)
    shade = 0.8 + 0.4 * random.random((2, 512))
    tone = warp_up * shade[0][column % 512] + (1 - warp_up) * shade[1][row % 512]
    top = np.maximum(warp, weft)
    fuzz = grain(random, frame.size, frame.size)
    tone *= 0.88 + 0.09 * twist + 0.05 * fuzz
    tone *= 0.35 + 0.65 * ramp(top, -0.2, 1.3)  # less light between the yarns
    tone *= 1 + 0.06 * fractal(random, frame.size, 3, 3)
    warp_colour, weft_colour = linear(plan["warp"]), linear(plan["weft"])
    albedo = weft_colour + warp_up[..., None] * (warp_colour - weft_colour)
    height = 0.16 * period * top + 0.12 * twist
    surface = Surface.of(albedo * tone[..., None], height, gloss=0.03)
    return Scene(surface, np.ones_like(height), (46, 40, 36))


def snag_fabric(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Pull the yarns of one place aside."""
    plan["snag"] = {
        "x": around(random, 0, 75),
        "y": around(random, 0, 75),
        "radius": between(random, 9, 17) * severity.size,
        "pull": (1.0 if random.random() < 0.5 else -1.0) * 1.1 * severity.strength,
    }
    return dict(plan["snag"])


def plan_metal(random: np.random.Generator) -> Plan:
    """A brushed sheet."""
    return {
        "light": draw_light(random),
        "colour": tinted((186, 187, 190), random, 4),
        "sheen": around(random, 0.0, 60),
        "roughness": between(random, 0.8, 1.15),
    }


def build_metal(plan: Plan, frame: Frame) -> Scene:
    """Fine lines of many lengths, and the sheen that stands across them."""
    random = frame.random("brush")
    size = frame.size
    lines = streaks(random, size, 3) + streaks(random, size, 9) + 0.8 * streaks(random, size, 30)
    lines *= plan["roughness"]
    bands = smooth(random, size, 40, 2) + smooth(random, size, 12, 2)
    # Brushing smears the lamp's image into a stripe across the lines.
    stripe = np.exp(-(((frame.x - plan["sheen"] + 0.25 * frame.y) / 95) ** 2))
    tone = 0.50 + 0.36 * stripe
    tone *= 1 + 0.085 * lines + 0.03 * bands + 0.03 * fractal(random, size, 2, 3)
    surface = Surface.of(
        linear(plan["colour"]) * tone[..., None], 0.05 * lines * frame.unit, gloss=0.10, metal=0.3
    )
    return Scene(surface, np.ones_like(tone), (232, 232, 236))


def plan_wood(random: np.random.Generator) -> Plan:
    """A board of oak."""
    return {
        "light": draw_light(random),
        "pale": tinted((201, 158, 106), random, 5),
        "dark": tinted((142, 95, 54), random, 5),
        "rings": between(random, 13.0, 16.5),
        "heart": [around(random, 20, 70), between(random, -420, -260)],
        "angle": around(random, 0.0, 0.06),
    }


def build_wood(plan: Plan, frame: Frame) -> Scene:
    """Year rings cut lengthwise into arches, fibres, and pores along them."""
    random = frame.random("board")
    size = frame.size
    u, v = turned(frame.x, frame.y, plan["angle"])
    # The board is a slice through a slowly leaning cone of rings.
    along, across = v - plan["heart"][1], u - plan["heart"][0]
    wander = 9 * smooth(random, size, 3, 4) + 2.5 * smooth(random, size, 4, 14)
    age = np.sqrt((across + wander) ** 2 + (0.16 * along) ** 2) / plan["rings"]
    age += 0.25 * np.sin(age * 1.7) + 0.12 * smooth(random, size, 3, 8)
    ring = age - np.floor(age)
    late = ramp(ring, 0.25, 0.93) * (1 - ramp(ring, 0.94, 1.0))
    fibre = streaks(random, size, 5).T + streaks(random, size, 16).T
    pores = streaks(random, size, 26).T + 0.6 * smooth(random, size, 20, size // 2)
    pore = ramp(pores, 0.62, 1.0) * (0.35 + 0.65 * (1 - late))
    share = np.clip(0.12 + 0.62 * late + 0.10 * fibre + 0.14 * smooth(random, size, 2, 5), 0, 1)
    pale, dark = linear(plan["pale"]), linear(plan["dark"])
    albedo = pale + share[..., None] * (dark - pale)
    albedo *= (1 - 0.42 * pore + 0.03 * grain(random, size, size))[..., None]
    height = -0.45 * pore + 0.06 * fibre - 0.12 * late
    surface = Surface.of(albedo, height, gloss=0.05)
    return Scene(surface, np.ones_like(height), (226, 196, 150))


def plan_tile(random: np.random.Generator) -> Plan:
    """Four glazed tiles in grout."""
    return {
        "light": draw_light(random),
        "glaze": tinted((66, 128, 134), random, 4),
        "grout": tinted((176, 170, 160), random, 4),
        "shift": [around(random, 0, 7), around(random, 0, 7)],
        "angle": around(random, 0.0, 0.02),
        "joint": around(random, 6.0, 0.6),
        "tones": [around(random, 1.0, 0.08) for _ in range(16)],
        "tilts": [[around(random, 0, 0.012), around(random, 0, 0.012)] for _ in range(16)],
        "unlike": None,
    }


def build_tile(plan: Plan, frame: Frame) -> Scene:
    """Rounded, glossy tiles whose glaze has run thicker here and thinner there."""
    random = frame.random("glaze")
    size, pitch = frame.size, 122.0
    u, v = turned(frame.x - plan["shift"][0], frame.y - plan["shift"][1], plan["angle"])
    column, row = np.floor(u / pitch).astype(int), np.floor(v / pitch).astype(int)
    number = (column + 2) % 4 + 4 * ((row + 2) % 4)
    in_u, in_v = u - (column + 0.5) * pitch, v - (row + 0.5) * pitch
    half = (pitch - plan["joint"]) / 2
    distance = box(in_u, in_v, half, half, 5.0)
    on_tile = inside(distance + 0.4 * smooth(random, size, 50, 50), 1.5)

    clouds = fractal(random, size, 5, 4, 0.6)
    specks = ramp(smooth(random, size, size // 3, size // 3), 0.95, 1.3)
    rim = ramp(distance, -9, -1)  # glaze runs off the edges and leaves them pale
    tone = np.array(plan["tones"])[number] * (1 + 0.13 * clouds)
    tone *= (1 - 0.35 * specks) * (1 + 0.55 * rim)
    glaze = linear(plan["glaze"]) * tone[..., None]
    sand = grain(random, size, size)
    grout = linear(plan["grout"]) * (0.72 + 0.07 * sand + 0.08 * clouds)[..., None]
    if plan["unlike"]:
        odd = (number == plan["unlike"]["number"]) * plan["unlike"]["share"]
        other = linear(plan["unlike"]["glaze"]) * tone[..., None]
        glaze += odd[..., None] * (other - glaze)

    tilts = np.array(plan["tilts"])[number]
    top = 3.2 + bevel(distance, 7, 2.6) + 0.5 * smooth(random, size, 7, 7)
    top += in_u * tilts[..., 0] + in_v * tilts[..., 1]
    surface = Surface.of(grout, 1.6 + 0.18 * sand)
    surface.cover(on_tile, glaze, height=top, gloss=0.42)
    surface.shade(0.35 * ramp(distance, -1, 2.5))
    return Scene(surface, np.ones_like(top), (188, 138, 106))


def swap_tile(plan: Plan, random: np.random.Generator, severity: Severity) -> dict[str, object]:
    """Lay one tile of another lot."""
    glazes = ((184, 124, 74), (58, 78, 136), (186, 178, 152))
    plan["unlike"] = {
        "number": (1, 2)[pick(random, 2)] + 4 * (1, 2)[pick(random, 2)],
        "glaze": list(glazes[pick(random, 3)]),
        "share": round(min(0.75 * severity.strength, 1.0), 4),
    }
    return dict(plan["unlike"])


def plan_leather(random: np.random.Generator) -> Plan:
    """A hide with its natural grain."""
    return {
        "light": draw_light(random),
        "colour": tinted((132, 78, 48), random, 5),
        "pebble": around(random, 9.5, 0.7),
        "shift": [between(random, 0, 50), between(random, 0, 50)],
        "stretch": around(random, 1.15, 0.1),
    }


def build_leather(plan: Plan, frame: Frame) -> Scene:
    """Pebbles of many sizes with creases between them."""
    random = frame.random("hide")
    size = frame.size
    pebble = max(plan["pebble"], 5 * frame.unit)
    u = frame.x / pebble + plan["shift"][0] + 0.6 * smooth(random, size, 9, 9)
    v = frame.y / (pebble * plan["stretch"]) + plan["shift"][1] + 0.6 * smooth(random, size, 9, 9)
    nearest, second = cells(random, u, v)
    crease = second - nearest
    fine = fractal(random, size, size // 5, 2)
    height = 1.5 * ramp(crease, 0.0, 0.5) + 0.6 * (1 - nearest) + 0.35 * fine
    height += 2.2 * smooth(random, size, 3, 4)
    tone = 0.62 + 0.38 * ramp(crease, 0.0, 0.28)
    tone *= 1 + 0.08 * fractal(random, size, 4, 3) + 0.05 * fine
    albedo = linear(plan["colour"]) * tone[..., None]
    surface = Surface.of(albedo, height, gloss=0.10)
    return Scene(surface, np.ones_like(height), (226, 190, 150))
