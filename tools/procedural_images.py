"""Procedural images: textures, shapes, shading, text and lines, drawn in batches.

Each image is a texture, usually with overlapping shapes ("dead leaves") and marks (text, bar codes,
traces, cracks), seen through a camera: colour cast, exposure, blur, noise. Drawing takes longer
than a training step, so each image is used several times, with another crop and another camera.
Such statistics make procedural images useful for training (Baradad et al., "Learning to See by
Looking at Noise", NeurIPS 2021). Everything is drawn from one seed and the number of the batch.
"""

from __future__ import annotations

import math
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

MARK_SIDE = 256
VIEWS = 4  # of each drawn image
KEPT = 16  # batches drawn, then seen in turn; a multiple of the sizes that take turns


class ProceduralImages:
    """Batches of procedural images.

    Args:
        seed: of everything drawn.
        parts: uint8 images n x s x s x 3; a crop of one replaces one image in four.
        marks: number of masks of text and lines that are drawn in advance.
    """

    def __init__(self, seed: int, parts: np.ndarray | None = None, marks: int = 400) -> None:
        self.seed = seed
        self.parts = None if parts is None else torch.from_numpy(parts).permute(0, 3, 1, 2)
        rng = np.random.default_rng([seed, 0])
        self.marks = torch.from_numpy(np.stack([draw_marks(rng) for _ in range(marks)]))
        self._kept: dict[int, Tensor] = {}

    def batch(self, number: int, count: int, side: int) -> Tensor:
        """Draw batch ``number``: float32 in [0, 1], count x 3 x side x side, deterministic."""
        drawn = number // (KEPT * VIEWS) * KEPT + number % KEPT
        if self._kept.get(drawn, torch.empty(0)).shape != (count, 3, side, side):
            self._kept[drawn] = self._draw(drawn, count, side)
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        view = _Draw(count, side, self._generator(2, number))
        grid = view.grid(0.5, 1.2, shift=0.3)
        seen = F.grid_sample(
            self._kept[drawn], grid, padding_mode="reflection", align_corners=False
        )
        return photograph(view, seen)

    def _draw(self, number: int, count: int, side: int) -> Tensor:
        draw = _Draw(count, side, self._generator(1, number))
        images = textures(draw)
        images = lay_shapes(draw, images)
        images = self._add_marks(draw, images)
        if self.parts is not None:
            images = self._mix_in_parts(draw, images, self.parts)
        return images

    def _generator(self, purpose: int, number: int) -> torch.Generator:
        state = np.random.SeedSequence([self.seed, purpose, number]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> 1))

    def _add_marks(self, draw: _Draw, images: Tensor) -> Tensor:
        """Draw text or lines on two images in five, in one colour."""
        on = draw.chance(0.4)
        which = torch.randint(len(self.marks), (draw.count,), generator=draw.generator)
        masks = self.marks[which][:, None].float() / 255
        masks = F.grid_sample(masks, draw.grid(0.3, 1.5, shift=0.5), align_corners=False)
        strength = on * draw.uniform(0.3, 1.0)
        return images + (draw.colours(1)[:, 0, :, None, None] - images) * masks * strength

    def _mix_in_parts(self, draw: _Draw, images: Tensor, parts: Tensor) -> Tensor:
        on = draw.chance(0.25)
        which = torch.randint(len(parts), (draw.count,), generator=draw.generator)
        seen = F.grid_sample(
            parts[which].float() / 255,
            draw.grid(0.25, 1.0, shift=0.5, turn=False),
            padding_mode="reflection",
            align_corners=False,
        )
        return torch.where(on.bool(), seen, images)


class _Draw:
    """Random numbers and fields for one batch; values for each image are count x 1 x 1 x 1."""

    def __init__(self, count: int, side: int, generator: torch.Generator) -> None:
        self.count, self.side, self.generator = count, side, generator
        axis = (torch.arange(side) + 0.5) / side * 2 - 1
        self.y, self.x = axis.view(1, 1, side, 1), axis.view(1, 1, 1, side)

    def of(self, count: int) -> _Draw:
        """The same for another number of images."""
        return _Draw(count, self.side, self.generator)

    def uniform(self, low: float, high: float, n: int = 1) -> Tensor:
        value = torch.rand(self.count, n, 1, 1, generator=self.generator)
        return low + (high - low) * value

    def log_uniform(self, low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high)))

    def chance(self, p: float) -> Tensor:
        return (self.uniform(0, 1) < p).float()

    def colours(self, n: int) -> Tensor:
        """n colours an image, count x n x 3; often nearly grey, as on most lines."""
        grey = torch.rand(self.count, n, 1, generator=self.generator)
        tint = torch.randn(self.count, n, 3, generator=self.generator)
        hue = torch.randn(self.count, 1, 3, generator=self.generator)
        saturation = self.uniform(0, 1)[:, 0] ** 2
        return (grey + saturation * (0.25 * tint + 0.15 * hue)).clamp(0, 1)

    def grid(self, low: float, high: float, shift: float, turn: bool = True) -> Tensor:
        """Sampling positions of a square seen from elsewhere: scaled, moved and turned."""
        scale = self.log_uniform(low, high)
        angle = self.uniform(-math.pi, math.pi) if turn else self.uniform(-0.1, 0.1)
        room = shift if turn else (1 - scale).clamp(min=0)
        x, y = self.x * scale, self.y * scale
        u = angle.cos() * x - angle.sin() * y + room * self.uniform(-1, 1)
        v = angle.sin() * x + angle.cos() * y + room * self.uniform(-1, 1)
        return torch.stack((u[:, 0], v[:, 0]), dim=-1)

    def noise(self, planes: int, low: float, high: float, stretch: float = 1.0) -> Tensor:
        """Fields of power spectrum 1 / f^(2a), a from [low, high]; mean 0, deviation 1.

        Stretched along a random direction by up to ``stretch``.
        """
        fy = torch.fft.fftfreq(self.side).view(1, 1, -1, 1)
        fx = torch.fft.rfftfreq(self.side).view(1, 1, 1, -1)
        angle, ratio = self.uniform(0, math.pi), self.log_uniform(1, stretch)
        along = fx * angle.cos() + fy * angle.sin()
        across = fy * angle.cos() - fx * angle.sin()
        f = torch.sqrt((along * ratio) ** 2 + (across / ratio) ** 2 + (1 / self.side) ** 2)
        shape = (self.count, planes, self.side, self.side)
        white = torch.fft.rfft2(torch.randn(shape, generator=self.generator))
        spectrum = white * f ** -self.uniform(low, high)
        spectrum[..., 0, 0] = 0
        field = torch.fft.irfft2(spectrum, s=(self.side, self.side))
        return field / field.std(dim=(2, 3), keepdim=True)


def textures(draw: _Draw) -> Tensor:
    """One texture an image: noise, waves, bricks or cells, through a palette of its own."""
    warp = draw.noise(2, 1.5, 2.5) * draw.chance(0.6) * draw.log_uniform(0.005, 0.15)
    scale, angle = draw.log_uniform(1.5, 30), draw.uniform(0, 2 * math.pi)
    x = scale * ((draw.x + warp[:, :1]) * angle.cos() - (draw.y + warp[:, 1:]) * angle.sin())
    y = scale * ((draw.x + warp[:, :1]) * angle.sin() + (draw.y + warp[:, 1:]) * angle.cos())

    noise = draw.noise(1, 0.0, 2.0, stretch=6)
    waves = torch.sin(math.pi * x) + draw.chance(0.5) * torch.sin(
        math.pi * y * draw.uniform(0.5, 2)
    )
    squareness = draw.log_uniform(0.3, 20)
    waves = torch.tanh(squareness * waves) / torch.tanh(squareness)
    offset = draw.chance(0.5) * 0.5 * torch.floor(y)
    bricks = _bump(x * 0.5 + offset, draw) * _bump(y, draw)
    spots, borders = _cells(x, y, draw)
    blobs = torch.tanh(draw.log_uniform(1, 30) * (draw.noise(1, 0.7, 1.8, 3) + draw.uniform(-1, 1)))
    kinds = torch.stack((noise, waves, 2 * bricks - 1, 2 * spots - 1, borders, blobs), dim=1)
    weights = torch.rand(draw.count, kinds.shape[1], generator=draw.generator) ** 6
    weights = (weights / weights.amax(dim=1, keepdim=True))[:, :, None, None, None]
    value = (kinds * weights).sum(dim=1)

    colours = _palette(value, draw)
    grain = draw.noise(3, 0.0, 1.2) * draw.log_uniform(0.003, 0.08)
    return colours + grain


def _bump(x: Tensor, draw: _Draw) -> Tensor:
    """1 within each unit interval, 0 at its borders."""
    inside = 1 - 2 * (x - torch.floor(x) - 0.5).abs()
    return (inside / draw.log_uniform(0.03, 1)).clamp(max=1)


def _cells(x: Tensor, y: Tensor, draw: _Draw) -> tuple[Tensor, Tensor]:
    """Voronoi cells of one jittered point a unit square: distance to the nearest, and borders."""
    column, row = torch.floor(x), torch.floor(y)
    nearest = torch.full_like(x, 9.0)
    second = torch.full_like(x, 9.0)
    phase, jitter = draw.uniform(0, 100), draw.uniform(0.2, 1.0)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            u, v = column + i, row + j
            # A hash by a sine of large argument: random enough for a picture.
            dx = (torch.sin(u * 12.9898 + v * 78.233 + phase) * 43758.5453) % 1
            dy = (torch.sin(u * 39.3468 + v * 11.135 + phase) * 24634.6345) % 1
            px, py = u + 0.5 + jitter * (dx - 0.5), v + 0.5 + jitter * (dy - 0.5)
            distance = torch.sqrt((x - px) ** 2 + (y - py) ** 2)
            second = torch.minimum(second, torch.maximum(nearest, distance))
            nearest = torch.minimum(nearest, distance)
    return 1 - nearest.clamp(max=1), torch.tanh(draw.log_uniform(2, 20) * (second - nearest))


def _palette(value: Tensor, draw: _Draw) -> Tensor:
    """Three colours an image, for values -1, 0 and 1 and between them."""
    low, middle, high = draw.colours(3).unbind(dim=1)
    contrast = draw.uniform(0.1, 1)
    v = (value * contrast).clamp(-1, 1)
    low, middle, high = (c[:, :, None, None] for c in (low, middle, high))
    return middle + v.clamp(min=0) * (high - middle) - v.clamp(max=0) * (low - middle)


def lay_shapes(draw: _Draw, images: Tensor) -> Tensor:
    """Lay up to 20 shapes over each image, filled with a colour or with another image's texture."""
    shapes = (draw.uniform(0, 1) ** 2 * 20).ceil() * draw.chance(0.8)
    fills = images
    images = images.clone()
    for i in range(int(shapes.max())):
        on = (shapes.flatten() > i).nonzero().flatten()
        fill = torch.roll(fills[(on + i + 1) % draw.count], (17 * i, 31 * i), dims=(2, 3))
        images[on] = _lay_shape(draw.of(len(on)), images[on], fill)
    return images


def _lay_shape(draw: _Draw, images: Tensor, texture: Tensor) -> Tensor:
    x0, y0 = draw.uniform(-1.1, 1.1), draw.uniform(-1.1, 1.1)
    angle, stretch = draw.uniform(0, 2 * math.pi), draw.log_uniform(1, 3)
    x = ((draw.x - x0) * angle.cos() - (draw.y - y0) * angle.sin()) * stretch
    y = ((draw.x - x0) * angle.sin() + (draw.y - y0) * angle.cos()) / stretch
    radius = draw.log_uniform(0.05, 0.8)
    power = draw.log_uniform(1, 8)  # of the norm: 1 a rhombus, 2 an ellipse, 8 a box
    distance = (x.abs() ** power + y.abs() ** power + 1e-9) ** (1 / power)
    waviness = draw.chance(0.4) * draw.uniform(0, 0.35)
    lobes = draw.uniform(2, 8).round()
    inside = radius * (1 + waviness * torch.cos(lobes * torch.atan2(y, x))) - distance
    hollow = draw.chance(0.25).bool()  # a ring or a frame
    thickness = radius * draw.log_uniform(0.05, 0.5)
    inside = torch.where(hollow, thickness / 2 - (inside - thickness).abs(), inside)
    cover = torch.sigmoid(inside / (draw.log_uniform(0.4, 8) / draw.side))

    colour = draw.colours(1)[:, 0, :, None, None].expand_as(images)
    fill = torch.where(draw.chance(0.4).bool(), texture, colour)
    light = draw.uniform(-math.pi, math.pi)
    slope = (x * light.cos() + y * light.sin()) / radius
    dome = torch.sqrt((1 - (distance / radius) ** 2).clamp(min=0))
    bevel = torch.exp(-inside.clamp(min=0) / (0.05 * radius))
    shade = 1 + draw.chance(0.6) * draw.uniform(0, 0.5) * (slope + dome - 0.7)
    shade = shade + draw.chance(0.4) * draw.uniform(-0.6, 0.6) * bevel
    shadow = torch.sigmoid((inside + 0.3 * radius) / (0.15 * radius))
    images = images * (1 - draw.chance(0.4) * draw.uniform(0, 0.6) * shadow)
    opacity = 1 - draw.chance(0.15) * draw.uniform(0.2, 0.8)
    return images + (fill * shade - images) * cover * opacity


def photograph(draw: _Draw, images: Tensor) -> Tensor:
    """Simulate a camera: light, colour cast, exposure, blur, noise; in [0, 1]."""
    fall = draw.uniform(-0.4, 0.4) * draw.x + draw.uniform(-0.4, 0.4) * draw.y
    images = images.clamp(0, 1) * (1 + draw.chance(0.5) * fall)
    grey = images.mean(dim=1, keepdim=True)
    images = torch.where(draw.chance(0.25).bool(), grey.expand_as(images), images)
    images = images * (1 + draw.chance(0.5) * draw.uniform(-0.15, 0.15, n=3))
    images = images.clamp(1e-4, 1) ** draw.log_uniform(0.5, 2)
    images = 0.5 + (images - 0.5) * draw.uniform(0.5, 1.1) + draw.uniform(-0.15, 0.15)
    blurred = F.avg_pool2d(F.avg_pool2d(images, 3, 1, 1, count_include_pad=False), 3, 1, 1,
                           count_include_pad=False)  # fmt: skip
    images = images + draw.chance(0.5) * draw.uniform(0, 1) * (blurred - images)
    noise = torch.randn(images.shape, generator=draw.generator)
    images = images + noise * draw.chance(0.7) * draw.log_uniform(0.002, 0.06)
    return images.clamp(0, 1)


def draw_marks(rng: np.random.Generator) -> np.ndarray:
    """Draw a mask of text, a bar code, traces, cracks or hatching: uint8, MARK_SIDE squared."""
    side = MARK_SIDE
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    kind = rng.integers(5)
    if kind == 0:
        letters = np.array(list(string.ascii_letters + string.digits + "-/:.#%&"))
        height = int(rng.integers(10, 70))
        font = ImageFont.load_default(height)
        for top in range(int(rng.integers(0, 30)), side, int(height * rng.uniform(1.1, 2))):
            line = "".join(rng.choice(letters, rng.integers(3, 30)))
            pen.text((int(rng.integers(0, 40)), top), line, fill=255, font=font)
    elif kind == 1:
        x = int(rng.integers(0, 60))
        while x < side - int(rng.integers(0, 60)):
            width = int(rng.integers(1, 8))
            pen.rectangle((x, 40, x + width - 1, side - 40), fill=255)
            x += width + int(rng.integers(1, 8))
    elif kind == 2:
        for _ in range(int(rng.integers(4, 40))):
            x, y = rng.integers(0, side, 2)
            width = int(rng.integers(1, 7))
            for _ in range(int(rng.integers(1, 6))):
                step = rng.choice([-1, 0, 1], 2) * rng.integers(8, 60)
                pen.line((x, y, x + step[0], y + step[1]), fill=255, width=width)
                x, y = x + step[0], y + step[1]
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=255)
    elif kind == 3:
        for _ in range(int(rng.integers(1, 12))):
            at, heading = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
            width = int(rng.integers(1, 5))
            for _ in range(int(rng.integers(5, 60))):
                heading += rng.normal(0, 0.4)
                to = at + 6 * np.array([np.cos(heading), np.sin(heading)])
                pen.line((*at, *to), fill=int(rng.integers(120, 256)), width=width)
                at = to
    else:
        gap, width = int(rng.integers(4, 40)), int(rng.integers(1, 6))
        for x in range(0, side, gap):
            pen.line((x, 0, x, side), fill=255, width=width)
            if rng.random() < 0.5:
                pen.line((0, x, side, x), fill=255, width=width)
    return np.asarray(image)
