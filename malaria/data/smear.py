"""The drawing of one synthetic red blood cell, as the segmentation of a smear photo crops it.

Lengths are pixels, colours RGB from 0 to 255. Body colours, radii, rims and grain were measured
on 80 real patients; parasites and what is mistaken for them are drawn after real ones by eye,
parasites a little larger and bolder, so that a small network learns them in ten epochs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rgb = NDArray[np.float32]
Spot = tuple[float, float]

# The official crops were masked at a third of their resolution: their edges are 3 px steps.
STEP = 3
# Centres (k-means) of the median colours of the real patients' cells.
BODIES = np.array(
    [
        (205, 154, 152),
        (200, 139, 146),
        (165, 158, 179),
        (179, 170, 184),
        (149, 135, 175),
        (174, 151, 153),
        (177, 111, 149),
        (210, 120, 169),
    ],
    np.float32,
)
GLASS = np.array((230, 220, 200), np.float32)
DYE = np.array((112, 8, 108), np.float32)
SOOT = np.array((100, 60, 76), np.float32)


@dataclass(frozen=True)
class Stain:
    """What the cells on one patient's smear share; colours are (3,) float32."""

    body: Rgb
    dye: Rgb
    radius: float
    rim: float
    pallor: float
    contrast: float
    dirt: float
    blur: float
    grain: float


def mix_stain(rng: np.random.Generator) -> Stain:
    """Return the stain of one patient's smear."""
    body = rng.choice(BODIES) * rng.normal(1.02, 0.03) + rng.normal(0, 5, 3)
    return Stain(
        body=body.astype(np.float32),
        dye=(DYE + rng.normal(0, 14, 3)).clip(0, 255).astype(np.float32),
        radius=rng.normal(61, 4),
        rim=rng.uniform(0.2, 0.9),
        pallor=0.4 if rng.random() < 0.3 else 0.1,
        contrast=rng.uniform(0.85, 1),
        dirt=rng.gamma(2, 0.35),
        blur=rng.uniform(0.7, 1.8),
        grain=rng.uniform(0.9, 1.8),
    )


def draw_cell(rng: np.random.Generator, stain: Stain, parasitized: bool) -> NDArray[np.uint8]:
    """Return the crop of one cell, (height, width, 3) uint8, black outside the cell."""
    body = stain.body * rng.normal(1, 0.025) + rng.normal(0, 2.5, 3)
    canvas = Canvas(rng, outline(rng, stain.radius), body.astype(np.float32))
    shade(canvas, stain)
    litter(canvas, stain)
    if parasitized:
        infect(canvas, stain)
    return photograph(canvas, stain)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse and its surroundings: colours to paint over, distance (1 on its line), angle."""

    rgb: Field
    distance: Field
    angle: Field


class Canvas:
    """A cell being painted: its mask, the depth below its rim, and its colours so far."""

    def __init__(self, rng: np.random.Generator, mask: Mask, body: Rgb) -> None:
        self.rng = rng
        self.mask = mask
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        self.depth: Field = depth.astype(np.float32)
        self.rgb: Field = np.tile(body, (*mask.shape, 1))

    def spot(self, margin: float) -> Spot:
        """Return a random (y, x) at least `margin` below the rim, or else a deepest one."""
        inside = np.flatnonzero(self.depth >= min(margin, self.depth.max()))
        y, x = divmod(int(self.rng.choice(inside)), self.mask.shape[1])
        return y, x

    def ellipse(self, spot: Spot, size: float, stretch: float) -> Ellipse:
        """Return a randomly turned ellipse of half axes size * stretch and size / stretch.

        Its area holds all that lies within twice the ellipse and within the crop; it may be empty.
        """
        turn, reach = self.rng.uniform(0, math.pi), 2 * size * stretch
        rows, columns = (
            slice(max(0, int(at - reach)), max(0, min(length, int(at + reach) + 2)))
            for at, length in zip(spot, self.mask.shape, strict=True)
        )
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - spot[0]) / size
        dx = (np.arange(columns.start, columns.stop, dtype=np.float32) - spot[1]) / size
        u = (math.cos(turn) * dx + math.sin(turn) * dy) / stretch
        v = (math.cos(turn) * dy - math.sin(turn) * dx) * stretch
        return Ellipse(self.rgb[rows, columns], np.hypot(u, v), np.arctan2(dy, dx))


def paint(rgb: Field, alpha: Field, colour: Rgb) -> None:
    """Cover `rgb` (height, width, 3) with `colour` to the share `alpha` of each pixel."""
    rgb += alpha[:, :, None] * (colour - rgb)


def outline(rng: np.random.Generator, radius: float) -> Mask:
    """Return the mask of a cell cropped to its bounding box: round, with bites and fragments."""
    coarse = radius * rng.lognormal(0, 0.09) / STEP
    reach = int(1.9 * coarse)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    turn, stretch = rng.uniform(0, math.pi), math.exp(abs(rng.normal(0, 0.09)))
    u = (math.cos(turn) * x + math.sin(turn) * y) / stretch
    v = (math.cos(turn) * y - math.sin(turn) * x) * stretch
    waves = 0.015 + 0.02 * rng.gamma(1)
    mask: Mask = np.hypot(u, v) < coarse * wobble(rng, np.arctan2(v, u), waves)
    for _ in range(rng.choice(4, p=[0.83, 0.1, 0.04, 0.03])):
        mask &= ~disc(rng, x, y, 1.08 * coarse, rng.uniform(0.1, 0.45) * coarse)
    if rng.random() < 0.08:
        mask |= disc(rng, x, y, coarse, rng.uniform(0.12, 0.35) * coarse)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return mask.repeat(STEP, 0).repeat(STEP, 1)


def wobble(rng: np.random.Generator, angle: Field, size: float) -> Field:
    """Return a random periodic factor about 1 for each `angle`, finer waves being lower."""
    factor: Field = np.ones_like(angle)
    for wave in range(2, 7):
        factor += 2 * size / wave * rng.normal() * np.cos(wave * angle + rng.uniform(0, math.tau))
    return factor


def disc(rng: np.random.Generator, x: Field, y: Field, away: float, radius: float) -> Mask:
    """Return the mask of a disc whose centre lies at distance `away` in a random direction."""
    angle = rng.uniform(0, math.tau)
    return np.hypot(x - away * math.cos(angle), y - away * math.sin(angle)) < radius


def soft(distance: Field, width: float) -> Field:
    """Return 1 inside distance 1 and 0 outside, with a ramp of `width` between."""
    return ((1 - distance) / width + 0.5).clip(0, 1)


def glow(distance: Field, width: float | Field) -> Field:
    """Return 1 at distance 0, falling off to both sides over `width`."""
    return np.exp(-((distance / width) ** 2))


def shade(canvas: Canvas, stain: Stain) -> None:
    """Give a bare cell uneven light, its pale centre and its bright rim."""
    rng = canvas.rng
    down, across = (
        np.cos(np.linspace(0, rng.uniform(1, 5), length) + rng.uniform(0, math.tau))
        for length in canvas.mask.shape
    )
    light = 1 + 0.02 * np.outer(down, across).astype(np.float32)
    canvas.rgb *= light[:, :, None]
    centre = canvas.spot(0.75 * float(canvas.depth.max()))
    pale = canvas.ellipse(centre, stain.radius * rng.uniform(0.25, 0.5), 1.1)
    paint(pale.rgb, rng.uniform(0, 1.8) * stain.pallor * glow(pale.distance, 0.7), GLASS)
    paint(canvas.rgb, stain.rim * glow(canvas.depth, 4), GLASS)


def infect(canvas: Canvas, stain: Stain) -> None:
    """Put parasites into the cell: one or two rings, or a trophozoite; some are faint."""
    rng = canvas.rng
    faint = rng.random() < 0.08
    contrast = stain.contrast * (rng.uniform(0.15, 0.4) if faint else rng.uniform(0.75, 1))
    if rng.random() < 0.3:
        trophozoite(canvas, stain, contrast)
        return
    for _ in range(rng.choice([1, 2], p=[0.85, 0.15])):
        ring(canvas, stain, contrast)


def ring(canvas: Canvas, stain: Stain, contrast: float) -> None:
    """Draw a ring form: a pale vacuole in a thin ring of cytoplasm, with a dot of chromatin."""
    rng = canvas.rng
    size = stain.radius * rng.uniform(0.15, 0.28)
    spot = canvas.spot(0.5 * size)
    body = canvas.ellipse(spot, size, rng.uniform(1, 1.2))
    paint(body.rgb, rng.uniform(0, 0.5) * contrast * soft(body.distance, 0.5), GLASS)
    side = rng.uniform(0, math.tau)
    line = glow(body.distance - 1, 0.28 + 0.18 * np.cos(body.angle - side))
    paint(body.rgb, rng.uniform(0.5, 0.9) * contrast * line, stain.dye)
    at = spot[0] + size * math.sin(side), spot[1] + size * math.cos(side)
    dot(canvas, at, rng.uniform(6, 10), contrast, stain.dye)


def trophozoite(canvas: Canvas, stain: Stain, contrast: float) -> None:
    """Draw a trophozoite: a large ragged blob with chromatin and brown pigment."""
    rng = canvas.rng
    size = stain.radius * rng.uniform(0.24, 0.42)
    spot = canvas.spot(0.7 * size)
    body = canvas.ellipse(spot, size, rng.uniform(1, 1.4))
    ragged = body.distance / wobble(rng, body.angle, 0.12)
    paint(body.rgb, rng.uniform(0.5, 0.8) * contrast * soft(ragged, 0.5), stain.dye)
    for colour, radius in [(stain.dye, 0.3)] * 3 + [(SOOT, 0.1)] * 3:
        at = spot[0] + rng.normal(0, size / 3), spot[1] + rng.normal(0, size / 3)
        dot(canvas, at, size * radius * rng.uniform(0.7, 1.3), 0.8 * contrast, colour)


def dot(canvas: Canvas, spot: Spot, size: float, alpha: float, colour: Rgb) -> None:
    """Draw a small soft-edged ellipse."""
    body = canvas.ellipse(spot, size, canvas.rng.uniform(1, 1.4))
    paint(body.rgb, alpha * soft(body.distance, 0.6), colour)


def litter(canvas: Canvas, stain: Stain) -> None:
    """Strew what is mistaken for parasites over the cell: specks, platelets, bubbles, scratches."""
    rng = canvas.rng
    for _ in range(rng.poisson(stain.dirt)):
        colour = stain.dye if rng.random() < 0.5 else SOOT
        dot(canvas, canvas.spot(2), rng.uniform(1, 3), rng.uniform(0.15, 0.6), colour)
    if rng.random() < 0.12:
        platelet(canvas, stain)
    if rng.random() < 0.06:
        bubble(canvas)
    if rng.random() < 0.06:
        scratch = canvas.ellipse(canvas.spot(3), rng.uniform(4, 8), 2.5)
        paint(scratch.rgb, rng.uniform(0.1, 0.4) * soft(scratch.distance, 0.6), SOOT)


def platelet(canvas: Canvas, stain: Stain) -> None:
    """Draw a platelet that lies on the cell: a grainy purple blob in a pale halo."""
    rng = canvas.rng
    body = canvas.ellipse(canvas.spot(1), rng.uniform(5, 11), rng.uniform(1, 1.5))
    ragged = body.distance / wobble(rng, body.angle, 0.1)
    paint(body.rgb, 0.3 * soft(ragged / 1.5, 0.5), GLASS)
    grain = rng.uniform(0.6, 1.2, ragged.shape).astype(np.float32)
    paint(body.rgb, rng.uniform(0.35, 0.8) * soft(ragged, 0.7) * grain, stain.dye)


def bubble(canvas: Canvas) -> None:
    """Draw a refractile bubble: a pale spot in a dark line, a ring without chromatin."""
    rng = canvas.rng
    body = canvas.ellipse(canvas.spot(4), rng.uniform(4, 12), rng.uniform(1, 1.3))
    paint(body.rgb, rng.uniform(0.2, 0.7) * soft(body.distance, 0.5), GLASS)
    paint(body.rgb, rng.uniform(0.1, 0.4) * glow(body.distance - 1, 0.25), SOOT)


def photograph(canvas: Canvas, stain: Stain) -> NDArray[np.uint8]:
    """Return the cell as the camera sees it: blurred, with grain, black outside the mask."""
    blurred = ndimage.gaussian_filter(canvas.rgb, (stain.blur, stain.blur, 0), truncate=2.5)
    # The real channels' grain is correlated by .95: it is in the light.
    blurred += stain.grain * canvas.rng.standard_normal((*canvas.mask.shape, 1), np.float32)
    # At least 1 inside the cell, so that black means outside.
    return np.where(canvas.mask[:, :, None], np.rint(blurred).clip(1, 255), 0).astype(np.uint8)
