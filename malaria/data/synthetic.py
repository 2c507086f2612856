"""Synthetic blood smears in the layout, names and imbalances of the NIH malaria cell images."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import ndtri
from tqdm import tqdm

from malaria.data.layout import FOLDERS, SYNTHETIC, THUMBS, THUMBS_CONTENT, store
from malaria.data.params import SyntheticParams
from malaria.data.smear import Stain, draw_cell, mix_stain
from malaria.errors import MalariaError

# The official spellings of slide ids; {} is the P number that only infected patients have.
INFECTED_SLIDES = (
    "P{}ThinF",
    "P{}thinF",
    "P{}_ThinF",
    "P{}NThinF",
    "P{}N_ThinF",
    "P{}ReThinF",
    "P{}thinF_original",
    "AP{}thinF",
    "BP{}_thinF",
)
HEALTHY_SLIDES = ("ThinF", "NThinF", "NthinF", "_thinF", "thin_original")
TWO_MICROSCOPES = ("P{}thinOriginalOlympusCX21", "P{}thin_Original_Motic")
# With this spread of the log counts a fifteenth of the infected patients holds 37.5 % of the
# parasitized cells, as 10 of 150 do in the official set.
BURDEN_SPREAD = 1.2


@dataclass(frozen=True)
class Patient:
    """One patient: number after the C, slide ids, and how many cells of each class."""

    number: int
    slides: tuple[str, ...]
    parasitized: int
    uninfected: int


@dataclass(frozen=True)
class Cell:
    """One cell to draw: file name, place among its patient's cells (from 1), label, stain."""

    name: str
    patient: int
    index: int
    label: int
    stain: Stain


def draw(params: SyntheticParams, path: Path) -> None:
    """Write the zip of synthetic cells that `params` describe; same params, same bytes.

    Raises MalariaError if there are too few cells for the patients.
    """
    cells = [
        cell
        for patient in patients(params)
        for cell in cells_of(patient, generator(params.seed, patient.number))
    ]
    cells.sort(key=lambda cell: cell.name)
    with (
        zipfile.ZipFile(path, "w") as archive,
        tqdm(total=len(cells), desc="draw", unit="cell", disable=None) as progress,
    ):
        archive.comment = SYNTHETIC.encode()
        for folder, label in FOLDERS.items():
            store(archive, folder)
            for cell in cells:
                if cell.label == label:
                    rng = generator(params.seed, cell.patient, cell.index)
                    pixels = draw_cell(rng, cell.stain, parasitized=bool(label))
                    store(archive, folder + cell.name, png(pixels))
                    progress.update()
            store(archive, f"{folder}{THUMBS}", THUMBS_CONTENT)


def generator(seed: int, patient: int, cell: int = 0) -> np.random.Generator:
    """Return the generator of one patient, or of one cell: independent of all others."""
    return np.random.default_rng(np.random.SeedSequence([seed, patient, cell]))


def patients(params: SyntheticParams) -> list[Patient]:
    """Return the patients in order of their number: some healthy, all infected, more healthy."""
    infected, healthy = params.infected_patients, params.healthy_patients
    if params.cells < 2 * (infected + healthy):
        raise MalariaError(
            f"fetch.synthetic.cells is {params.cells}: {infected + healthy} patients need at "
            f"least {2 * (infected + healthy)} cells; raise cells or lower the patients."
        )
    rng = generator(params.seed, 0)
    # Evenly spaced quantiles, so that no seed draws a spread without the tail.
    burdens = np.exp(BURDEN_SPREAD * ndtri((np.arange(infected) + 0.5) / infected))
    parasitized = allot(params.cells // 2, rng.permutation(burdens))
    uninfected = allot(params.cells - params.cells // 2, rng.uniform(0.9, 1.1, infected + healthy))
    people = []
    for number, count in enumerate(uninfected, start=1):
        p_number = number - healthy // 2
        is_infected = 1 <= p_number <= infected
        slides = slides_of(rng, number, p_number if is_infected else None)
        burden = int(parasitized[p_number - 1]) if is_infected else 0
        people.append(Patient(number, slides, burden, int(count)))
    return people


def slides_of(rng: np.random.Generator, number: int, p_number: int | None) -> tuple[str, ...]:
    """Return the slide ids of a patient: one, but two for the second infected patient."""
    if p_number is None:
        return (f"C{number}{rng.choice(HEALTHY_SLIDES)}",)
    forms = TWO_MICROSCOPES if p_number == 2 else (str(rng.choice(INFECTED_SLIDES)),)
    return tuple(f"C{number}{form.format(p_number)}" for form in forms)


def allot(total: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return counts that add up to `total`: one each, the rest in proportion to `weights`."""
    shares = (total - len(weights)) * weights / weights.sum()
    counts: NDArray[np.int64] = 1 + shares.astype(np.int64)
    by_remainder = np.argsort(shares.astype(np.int64) - shares, kind="stable")
    counts[by_remainder[: total - counts.sum()]] += 1
    return counts


def cells_of(patient: Patient, rng: np.random.Generator) -> list[Cell]:
    """Return the cells of a patient, spread over the photos of the patient's slides."""
    stain = mix_stain(rng)
    photos = rng.permutation(
        [f"{slide}_IMG_{time}" for slide in patient.slides for time in photo_times(rng)]
    )
    count = patient.parasitized + patient.uninfected
    numbers = 1 + rng.permutation(max(count, 250))
    cells = []
    for index in range(count):
        name = f"{photos[index % len(photos)]}_cell_{numbers[index]}.png"
        label = int(index < patient.parasitized)
        cells.append(Cell(name, patient.number, index + 1, label, stain))
    return cells


def photo_times(rng: np.random.Generator) -> list[str]:
    """Return when the photos of one slide were taken, as in `20150918_144104`."""
    time = datetime(2015, 6, 4, 9) + timedelta(
        days=int(rng.integers(180)), minutes=int(rng.integers(480))
    )
    gaps = rng.integers(20, 120, size=rng.integers(5, 11)).cumsum()
    return [f"{time + timedelta(seconds=int(gap)):%Y%m%d_%H%M%S}" for gap in gaps]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an RGB image, (height, width, 3) uint8, as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # Run-length matches only: five times faster than the default, and smaller on grainy crops.
    Image.fromarray(pixels).save(buffer, "PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()
