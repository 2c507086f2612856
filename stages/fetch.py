"""fetch: the zip of cell images, exactly the bytes that params pin."""

import startup  # noqa: F401

import os
from pathlib import Path

from malaria import synthetic
from malaria.download import obtain
from malaria.params.base import load
from malaria.params.fetch import FetchParams
from malaria.stage import run_stage
from malaria.tracking import StageRun

ZIP = Path("data/raw/cell_images.zip")


def main(run: StageRun) -> None:
    params = load(FetchParams)
    ZIP.parent.mkdir(parents=True, exist_ok=True)
    if params.synthetic is not None:
        draft = ZIP.with_name(f"{ZIP.name}.part")
        synthetic.draw(params.synthetic, draft)
        os.replace(draft, ZIP)
    elif params.sha256 is not None:
        obtain(params.sha256, params.url, ZIP)


if __name__ == "__main__":
    run_stage("fetch", main)
