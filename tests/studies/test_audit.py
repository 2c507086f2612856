"""Doubtful labels: which are found, what happens to verdicts, what a person sees."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from malaria.data.corrections import read_corrections
from malaria.errors import MalariaError
from malaria.studies.audit import (
    COLUMNS,
    Page,
    doubtful,
    draw_list,
    pooled,
    warning_of,
    write_list,
    write_page,
)
from tests.conftest import little_space, random_images

FLIPPED = [3, 40, 77]


def predictions(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Return cells that a good model is sure of, three of them with the wrong label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    probability = np.where(label == 1, 1 - rng.beta(1, 30, count), rng.beta(1, 30, count))
    label[FLIPPED] = 1 - label[FLIPPED]
    return pd.DataFrame(
        {
            "cell_id": [f"cell_{number}" for number in range(count)],
            "patient": [f"C{number % 20}" for number in range(count)],
            "label": label,
            "probability": probability,
        }
    )


def test_flipped_labels_are_found_and_the_worst_comes_first() -> None:
    table = predictions()
    found = doubtful(table)
    assert list(found) == COLUMNS
    assert set(found["cell_id"]) == {f"cell_{number}" for number in FLIPPED}
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["quality"].is_monotonic_increasing
    rows = table.set_index("cell_id").loc[found["cell_id"]]
    own = np.where(rows["label"] == 1, rows["probability"], 1 - rows["probability"])
    assert found["quality"].tolist() == pytest.approx(own.tolist())


def test_folds_have_to_test_each_cell_once() -> None:
    table = predictions()[:10]
    series = {"cv-fold1": table[:6], "cv-fold2": table[6:]}
    assert pooled(series, table)["cell_id"].tolist() == table["cell_id"].tolist()
    for broken, said in (
        ({"cv-fold1": table[:6]}, "4 cells are tested in none and 0 in several"),
        ({"cv-fold1": table[:6], "cv-fold2": table[5:]}, "0 cells are tested in none and 1 in"),
    ):
        with pytest.raises(MalariaError, match=said):
            pooled(broken, table)


def test_the_list_can_be_edited_and_given_back(tmp_path: Path) -> None:
    table = predictions()
    found = doubtful(table)
    path = tmp_path / "audit/cv.csv"
    write_list(found, path)
    assert read_corrections(path, table).empty
    edited = path.read_text().replace(",\n", ",flip\n", 1)
    path.write_text(edited)
    assert read_corrections(path, table).to_dict() == {found["cell_id"][0]: "flip"}
    write_list(found, path)  # again: what a person wrote stays
    assert path.read_text() == edited


def test_what_a_person_wrote_is_carried_over(tmp_path: Path) -> None:
    found = doubtful(predictions())
    path = tmp_path / "cv.csv"
    write_list(found, path)
    first, second, third = path.read_text().splitlines()[1:]
    edited = [f"{first}flip,sharp", f"{second},", f"{third},blurred"]
    path.write_text("\n".join([f"{','.join(COLUMNS)},remark", *edited]) + "\r\n")
    assert write_list(found[1:2].assign(rank=1), path) == 2
    lines = [line.split(",", 1)[1] for line in path.read_text().splitlines()]
    told = pd.read_csv(path, dtype="string", keep_default_na=False)
    assert told["rank"].tolist() == ["1", "2", "3"]
    assert lines[1:] == [line.split(",", 1)[1] for line in (edited[1], edited[0], edited[2])]
    assert read_corrections(path, predictions()).to_dict() == {found["cell_id"][0]: "flip"}
    assert write_list(found, path) == 0  # doubtful again, so in their places
    assert path.read_text().splitlines()[1:] == edited


def test_a_list_behind_a_link_is_the_one_that_is_written(tmp_path: Path) -> None:
    write_list(doubtful(predictions()), tmp_path / "shared.csv")
    (tmp_path / "cv.csv").symlink_to("shared.csv")
    write_list(doubtful(predictions())[:1], tmp_path / "cv.csv")
    assert (tmp_path / "cv.csv").is_symlink()
    assert len((tmp_path / "shared.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not readable as CSV"),
        (b"rank,cell_id,label,verdict\n1,a,1,flip\n2,a,1,\n", "names the cell 'a' twice"),
        (b"rank;cell_id;label;verdict\n1;a;1;flip\n", "has no column `cell_id`"),
    ],
)
def test_an_older_list_that_cannot_be_read_stays(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "cv.csv").write_bytes(content)
    with pytest.raises(MalariaError, match=said):
        write_list(doubtful(predictions()), tmp_path / "cv.csv")
    assert (tmp_path / "cv.csv").read_bytes() == content


def test_a_full_disk_leaves_the_verdicts(tmp_path: Path) -> None:
    found = doubtful(predictions())
    path = tmp_path / "cv.csv"
    write_list(found, path)
    path.write_text(path.read_text().replace(",\n", ",flip\n"))
    before = path.read_bytes()
    with little_space(100), pytest.raises(MalariaError, match=r"cv\.csv cannot be written .*as it"):
        write_list(found, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["cv.csv"]


def test_the_page_and_the_picture_show_the_cells(tmp_path: Path) -> None:
    table = predictions()
    found = doubtful(table)
    images = random_images(len(table), 16)
    rows = pd.Series(table.index, index=table["cell_id"])
    write_list(found, tmp_path / "cv.csv")
    write_page(found, images, rows, tmp_path / "cv.html", Page("Doubtful <labels>", "", "demo"))
    page = (tmp_path / "cv.html").read_text()
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 3
    assert "Doubtful &lt;labels&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    draw_list(found, images, rows, tmp_path / "cv.png", "title")
    assert Image.open(tmp_path / "cv.png").size == (1100, 640)


def test_models_that_are_no_judges_are_named() -> None:
    good = predictions().assign(logit=lambda cells: cells["probability"])
    noise = np.random.default_rng(0).normal(size=len(good))
    assert warning_of({"cv-fold1": good}) == ""
    said = warning_of({"cv-fold1": good, "cv-fold2": good.assign(logit=noise)})
    assert said.startswith("The area under the ROC curve is below 0.9 for cv-fold2 0.")
    assert "cv-fold1" not in said
