"""Damage to a surface, whatever the product: each changes colour, relief or gloss of a part.

Each takes the part, where to begin, random numbers and a severity, changes the part in place, and
returns its parameters. What it changes is rendered by the same light and camera as all the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter

from mambaad.data.synthetic.noise import Array, Frame, Map, Number, around, between, pick
from mambaad.data.synthetic.optics import Colour, linear
from mambaad.data.synthetic.scene import Scene, Severity
from mambaad.data.synthetic.shapes import inside, ramp, stroke

_Point = tuple[float, float]
_Defect = Callable[[Scene, _Point, Frame, np.random.Generator, Severity], dict[str, Any]]
_TURN = 2 * np.pi
_INKS: tuple[Colour, ...] = ((104, 60, 28), (30, 30, 36), (118, 34, 30), (34, 62, 92))
_LIME: Colour = (212, 206, 192)


def damage(
    kind: str, scene: Scene, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """Damage a part somewhere on its body, in place; returns where and how."""
    rows, columns = np.nonzero(scene.body > 0.9)
    place = pick(random, len(rows))
    at = (float(frame.x[0, columns[place]]), float(frame.y[rows[place], 0]))
    # Towards the middle, so that most of it is seen.
    at = (0.88 * at[0], 0.88 * at[1]) if scene.body.min() > 0.9 else at
    done = SURFACE_DEFECTS[kind](scene, at, frame, random, severity)
    return {"x": round(at[0], 2), "y": round(at[1], 2), **done}


def _blob(
    frame: Frame, at: _Point, random: np.random.Generator, radius: Number, rough: Number
) -> Map:
    """Distance to an irregular, somewhat longish outline; negative inside."""
    turn, aspect = between(random, 0, 3.1416), between(random, 1.0, 1.5)
    x, y = frame.x - at[0], frame.y - at[1]
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    u, v = (x * cosine + y * sine) / aspect, y * cosine - x * sine
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for wave in range(2, 8):
        amount = rough * between(random, 0.3, 1.0) / wave
        edge += amount * np.sin(wave * angle + between(random, 0, _TURN))
    distance: Map = np.hypot(u, v) - radius * edge
    return distance


def _walk(
    at: _Point,
    random: np.random.Generator,
    length: Number,
    *,
    steps: int,
    wobble: Number,
) -> Float64[np.ndarray, "n 2"]:
    """Points of a line whose middle is at a point: straight, but for its wobble at each step."""
    turns: Array = between(random, 0, _TURN) + np.cumsum(wobble * (random.random(steps) - 0.5))
    moves = length / steps * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    points: Array = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    points += np.array(at) - points[steps // 2]
    return points


def scratch(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """A groove that lays the inner colour open, with a burr along it."""
    length = between(random, 35, 105) * severity.size
    width = between(random, 1.5, 2.8) * (0.5 + 0.5 * severity.size)
    points = _walk(at, random, length, steps=16, wobble=0.16)
    taper = np.sqrt(np.sin(np.linspace(0.15, np.pi - 0.15, len(points))))
    groove = stroke(frame, points, width * taper) * scene.body
    burr = stroke(frame, points + 0.7 * width, 0.8 * width * taper) * scene.body
    surface, share = scene.surface, min(0.85 * severity.strength, 0.97)
    surface.height -= severity.strength * width * 0.7 * groove
    surface.height += 0.35 * width * burr
    surface.cover(share * groove, linear(scene.inner), gloss=0.1)
    surface.lit += groove * 0.5 * (1 - surface.lit)
    return {"length": round(length, 2), "width": round(width, 2)}


def crack(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """A dark jagged line that forks."""
    length = between(random, 45, 110) * severity.size
    width = between(random, 1.4, 2.4) * (0.5 + 0.5 * severity.size)
    points = _walk(at, random, length, steps=18, wobble=1.5)
    taper = np.linspace(1.25, 0.35, len(points))
    line = stroke(frame, points, width * taper)
    for _ in range(1 + pick(random, 3)):
        start = points[3 + pick(random, 10)]
        fork = _walk((0.0, 0.0), random, 0.4 * length, steps=8, wobble=1.4)
        line = np.maximum(line, stroke(frame, fork - fork[0] + start, width * taper[9:]))
    line *= scene.body
    surface = scene.surface
    surface.height -= 1.2 * severity.strength * line
    dark = 0.05 * linear(scene.inner)
    surface.cover(np.minimum(0.8 * severity.strength, 0.97) * line, dark, gloss=0.0, metal=0.0)
    surface.shade(0.5 * line)
    return {"length": round(length, 2), "width": round(width, 2)}


def stain(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """A dried liquid: darker, and darkest at its rim."""
    radius = between(random, 9, 24) * severity.size
    rows, columns = np.abs(frame.y[:, 0] - at[1]) < radius, np.abs(frame.x[0] - at[0]) < radius
    # On dark ground only lime is seen.
    near = np.ix_(rows, columns)
    ground = scene.surface.albedo[near].mean(2) * scene.body[near]
    dark = float(ground.sum() / scene.body[near].sum()) < 0.14
    ink = _LIME if dark else _INKS[pick(random, len(_INKS))]
    distance = _blob(frame, at, random, radius, 0.45)
    inner = inside(distance, 2.5) * scene.body
    rim = np.exp(-(((distance + 1.5) / 2.0) ** 2)) * inner
    amount = np.clip(severity.strength * (0.58 * inner + 0.3 * rim), 0, 0.92)
    surface = scene.surface
    # Soaked in rather than on top: the texture stays.
    soaked = surface.albedo * (0.1 + 0.6 * linear(ink)) + 0.4 * linear(ink)
    surface.cover(amount, soaked)
    surface.metal *= 1 - 0.6 * amount
    surface.gloss += 0.12 * amount
    return {"radius": round(radius, 2), "ink": list(ink)}


def hole(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """Material broken out: a bright torn edge around a dark, deep inside."""
    radius = between(random, 5, 13) * severity.size
    distance = _blob(frame, at, random, radius, 0.5)
    edge = ramp(distance, 2.4, 0.0) * scene.body
    deep = ramp(distance, 0.0, -2.4) * scene.body
    share = min(0.6 + 0.35 * severity.strength, 1.0)
    surface = scene.surface
    surface.cover(0.8 * share * edge, linear(scene.inner), gloss=0.0, metal=0.0)
    surface.height += 0.5 * edge
    surface.height -= 4.0 * severity.strength * ramp(distance, 0.5, -3.0) * scene.body
    # The wall on the lamp's side lies in shadow, the other in its light.
    surface.cover(share * deep, 0.12 * linear(scene.inner))
    surface.shade(0.6 * deep)
    return {"radius": round(radius, 2)}


def dent(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """A place pressed in or out: seen by its shading alone."""
    radius = between(random, 8, 19) * severity.size
    depth = 0.32 * radius * severity.strength
    outwards = random.random() < 0.25
    distance = _blob(frame, at, random, radius, 0.15)
    # A bowl with a turned-up lip.
    bowl = np.where(distance < 0, (np.minimum(distance, 0) / radius) ** 2, 0.0)
    lip = 0.12 * np.exp(-((distance / (0.22 * radius)) ** 2))
    change = depth * (1.6 * np.minimum(bowl, 1) * (1 - 0.4 * np.minimum(bowl, 1)) - lip)
    surface = scene.surface
    # What pressed it has flattened and polished its grain, too.
    pressed = min(0.8 * severity.strength, 1.0) * ramp(distance, 0.0, -0.5 * radius) * scene.body
    surface.height += pressed * (gaussian_filter(surface.height, 3 / frame.unit) - surface.height)
    surface.gloss += 0.15 * pressed
    surface.height += (change if outwards else -change) * scene.body
    if not outwards:
        surface.shade(0.4 * min(severity.strength, 1.5) * bowl * scene.body)
    return {"radius": round(radius, 2), "depth": round(depth, 2), "outwards": outwards}


def colour(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """A region of another shade: too pale, too dark, scorched, yellowed or bluish."""
    radius = between(random, 16, 34) * severity.size
    tints = (
        (1.5, 1.5, 1.5),
        (0.5, 0.5, 0.5),
        (0.62, 0.45, 0.32),
        (1.25, 1.0, 0.5),
        (0.65, 0.85, 1.4),
    )
    tint = np.array(tints[pick(random, len(tints))])
    distance = _blob(frame, at, random, radius, 0.3)
    amount = min(0.88 * severity.strength, 1.0) * ramp(distance, 0.18 * radius, -0.35 * radius)
    surface = scene.surface
    # More than in proportion, so that dark ground shows it, too.
    shifted = np.maximum((surface.albedo + 0.04) * tint - 0.04, 0.002)
    surface.cover(amount * scene.body, shifted)
    return {"radius": round(radius, 2), "tint": tint.tolist()}


def contamination(
    scene: Scene, at: _Point, frame: Frame, random: np.random.Generator, severity: Severity
) -> dict[str, Any]:
    """Foreign matter: a fibre, a chip, or crumbs of dirt."""
    what = ("fibre", "chip", "crumbs")[pick(random, 3)]
    paints: tuple[Colour, ...] = ((24, 26, 34), (216, 60, 50), (236, 234, 226), (60, 120, 190))
    paint = paints[pick(random, len(paints))]
    share = min(0.75 + 0.2 * severity.strength, 1.0)
    if what == "fibre":
        length = between(random, 40, 90) * severity.size
        points = _walk(at, random, length, steps=28, wobble=0.9)
        coverage = stroke(frame, points, np.full(len(points), 1.5 + 0.5 * severity.size))
        rise, high, size = 1.2 * coverage, 2.0, length
    elif what == "chip":
        size = between(random, 4.5, 9) * severity.size
        distance = _blob(frame, at, random, size, 0.7)
        coverage = inside(distance, frame.unit)
        rise, high = 1.6 * ramp(distance, 0.5, -3.0), 3.0
    else:
        size = between(random, 8, 16) * severity.size
        coverage, high = np.zeros_like(frame.x), 1.6
        for _ in range(4 + pick(random, 6)):
            crumb = (around(random, at[0], size), around(random, at[1], size))
            grain = _blob(frame, crumb, random, between(random, 1.4, 3.4), 0.5)
            coverage = np.maximum(coverage, inside(grain, frame.unit))
        rise = 1.2 * coverage
    surface = scene.surface
    # Its shadow falls away from the lamp, which stands at the upper left of every station.
    step = max(round(high / frame.unit), 1)
    shadow = np.zeros_like(coverage)
    shadow[step:, step:] = coverage[:-step, :-step]
    surface.shade(0.45 * shadow * (1 - coverage))
    surface.cover(
        share * coverage, linear(paint), height=surface.height + rise, gloss=0.15, metal=0.0
    )
    return {"what": what, "extent": round(size, 2), "paint": list(paint)}


SURFACE_DEFECTS: dict[str, _Defect] = {
    "scratch": scratch,
    "crack": crack,
    "stain": stain,
    "hole": hole,
    "dent": dent,
    "colour": colour,
    "contamination": contamination,
}
