"""fetch: the zip of cell images, exactly the bytes that params pin."""

from pathlib import Path
from typing import TYPE_CHECKING

from malaria.core.files import replacing
from malaria.core.params import load
from malaria.data import synthetic
from malaria.data.obtain import obtain
from malaria.data.params import FetchParams
from malaria.paths import ZIP

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun


def main(run: "StageRun") -> None:
    params = load(FetchParams)
    zip_file = Path(ZIP)
    if params.synthetic is None:
        obtain(params, zip_file)
        return
    zip_file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(zip_file) as draft:
        synthetic.draw(params.synthetic, draft)
