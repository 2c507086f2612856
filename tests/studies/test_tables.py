"""The content of the result tables."""

import json
import shutil
from pathlib import Path

import pytest

from malaria.errors import MalariaError
from malaria.models.base.system import find_system, names
from malaria.studies.published import PUBLISHED, published
from malaria.studies.results import TABLES
from malaria.studies.tables import (
    cuts,
    jax_table,
    leaky_table,
    main_table,
    model_table,
    series_table,
    split_table,
)
from tests.studies.kept import CHANGED, JAX, LEAKY, METRICS, PILOT, STUDY, keep


def rows_of(table: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its heads."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_metric_has_its_interval_if_there_is_one(root: Path) -> None:
    val, test = rows_of(split_table(root, PILOT))
    assert val[:6] == ["val", "1,234", "9", "0.500 (0.450 to 0.551)", "0.500", "0.500"]
    assert test[:4] == ["test", "1,234", "9", "0.500"]
    assert test[7] == "0.500 (0.400 to 0.600)"


def test_without_runs_the_studys_tables_say_so(root: Path) -> None:
    for table in (main_table, model_table, jax_table, leaky_table, series_table):
        assert table(root, STUDY) == "Not run."
    shutil.rmtree(root / "reports")  # no stage has run
    assert main_table(root, STUDY) == "Not run."


def test_the_studys_table_shows_each_run_beside_what_its_source_claims(root: Path) -> None:
    keep(root, STUDY, "cnn_se", auc=0.8)
    cut = {"trained": {"weights": "vgg16"}, "params": {"model: vgg19_finetuned": "model: x"}}
    cut["params"] = {"model: cnn_se": "model: vgg19_finetuned"}
    keep(root, STUDY, "vgg19_finetuned", auc=0.9, epochs=4, **cut)
    keep(root, STUDY, "cnn_se-cells", auc=0.99, params=LEAKY)
    keep(root, STUDY, "cnn_se-fold1", auc=0.97)
    keep(root, STUDY, "cnn_se-jax", auc=0.98, trained=JAX)
    vgg, se, leaky = rows_of(main_table(root, STUDY))
    assert vgg == [
        "`vgg19_finetuned`",
        "64 px",
        "182 patients, 7,532 cells",
        "9",
        "0.500",
        "0.500 (0.300 to 0.700)",
        "0.500",
        "0.900",
        "weights vgg16 (imagenet), epochs 4 (50)",
        "0.9600 on a random 30 % of the cells (leaky); the first article (VGG19 study)",
    ]
    assert (se[0], se[8]) == ("`cnn_se`", "nothing")
    assert se[9].startswith("0.9846 on a split of the cells (leaky)")
    assert leaky[0] == "`cnn_se` (leaky cell split)"  # the last, though its ROC AUC is the highest
    assert leaky[2] == "7,532 cells, of test patients too"
    models = model_table(root, STUDY)
    assert [row[0] for row in rows_of(models)] == ["`vgg19_finetuned`", "`cnn_se`"]
    assert (
        f"{CHANGED}\n\n- `vgg19_finetuned`: weights vgg16 (imagenet), float32, epochs 4" in models
    )
    (jax,) = rows_of(jax_table(root, STUDY))
    assert (jax[0], jax[7]) == ("`cnn_se` (cnn_se-jax), JAX", "0.980")
    assert f"{CHANGED}\n\n- `cnn_se` (cnn_se-jax), JAX: float32, " in jax_table(root, STUDY)


def test_a_list_of_corrections_leaves_the_number_of_training_cells_open(root: Path) -> None:
    keep(root, STUDY, "cnn_se", auc=0.8, params={"corrections: none": "corrections: {path: a}"})
    path = root / "experiments/cnn_se/params.yaml"
    assert rows_of(main_table(root, STUDY))[0][2] == "-", path.read_text()


@pytest.mark.parametrize(
    ("trained", "is_apart"),
    [
        (JAX, True),
        ({"backend": "jax", "device": "cpu"}, False),
        ({"backend": "tensorflow", "device": "gpu"}, False),
    ],
)
def test_only_runs_of_jax_on_a_gpu_stand_apart(
    root: Path, trained: dict[str, str], is_apart: bool
) -> None:
    keep(root, STUDY, "cnn_se", auc=0.8, trained=trained)
    assert (main_table(root, STUDY) == "Not run.") == is_apart
    assert (jax_table(root, STUDY) == "Not run.") != is_apart


def test_a_finished_root_is_one_of_the_studys_runs(root: Path) -> None:
    root_params = (root / "params.yaml").read_text()
    shutil.copytree(root / "pilot/reports", root / "reports", dirs_exist_ok=True)
    (model,) = rows_of(model_table(root, STUDY))
    assert model[0] == "`vgg19_finetuned`"
    assert "model: vgg19_finetuned" in root_params


def test_every_system_has_its_sources_claim() -> None:
    assert sorted(PUBLISHED) == names()
    for name, claim in PUBLISHED.items():
        system = find_system(name)
        assert claim.source == system.source
        assert (claim.weights == ("none",)) == (not system.pretrained)
    with pytest.raises(MalariaError, match=r"published\.py has no line for 'mine'; add"):
        published("mine")


def test_the_cuts_of_the_pilot_are_listed_with_the_studys_values(root: Path) -> None:
    assert "- `preprocess.size`: 64 (study: 125)" in cuts(root).splitlines()
    assert "gate." not in cuts(root)


def test_models_are_in_the_order_of_their_validation_auc(root: Path) -> None:
    heads = model_table(root, PILOT).splitlines()[0]
    assert heads.startswith("| model | parameters | val accuracy | val ROC AUC | test accuracy |")
    rows = rows_of(model_table(root, PILOT))
    assert [row[3] for row in rows] == ["0.900", "0.850", "0.800"]
    assert rows[0][:5] == ["`cnn_se` (b)", "271,378", "0.500", "0.900", "0.500"]


def test_changes_to_the_published_recipe_are_named(root: Path) -> None:
    path = root / "pilot/experiments/b/train.json"
    path.write_text(path.read_text().replace('"size": 64', '"size": 40', 1))
    _, changes = model_table(root, PILOT).split(f"{CHANGED}\n\n")
    assert changes.splitlines() == [
        "- `cnn_se` (b): 40 px (64), float32, batch_size 32 (100), epoch 2 of 3 kept.",
        "- `cnn_se` (a): float32, zoom_range [0.9, 1.1] ([1.0, 1.0]), epoch 2 of 3 kept.",
        "- `cnn_se`: float32, epoch 2 of 3 kept.",
    ]


def test_a_leaky_split_is_next_to_the_honest_one_with_the_gap(root: Path) -> None:
    assert leaky_table(root, PILOT) == "Not run."
    keep(root, PILOT, "leaky", auc=0.95, params=LEAKY)
    rows = rows_of(leaky_table(root, PILOT))
    assert [row[:2] for row in rows] == [
        ["`cnn_se`", "by patient"],
        ["`cnn_se`", "by cell (leaky)"],
        ["", "gap"],
    ]
    assert [row[3] for row in rows] == ["0.800", "0.950", "0.150"]
    assert "0.950" not in model_table(root, PILOT)
    path = root / "pilot/experiments/leaky/train.json"  # no other run has its size
    path.write_text(path.read_text().replace('"size": 64', '"size": 40', 1))
    (row,) = rows_of(leaky_table(root, PILOT))
    assert row[1] == "by cell (leaky)"


def test_a_series_has_a_row_per_run_then_mean_and_sd(root: Path) -> None:
    (root / "pilot/series").mkdir()
    names = ["experiment", "n_cells", "n_patients", *METRICS]
    lines = [names, ["cv-fold1", "1200", "5", *["0.25"] * 6], ["mean", "", "", *["0.375"] * 6]]
    (root / "pilot/series/cv.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    table = series_table(root, PILOT)
    assert table.startswith("| run | cells | patients | accuracy | sensitivity |")
    fold, mean = rows_of(table)
    assert fold == ["cv-fold1", "1,200", "5", *["0.250"] * 5]
    assert (mean[0], mean[3]) == ("cv mean", "0.375")
    assert "changed" not in table
    for number in (1, 2):
        keep(root, PILOT, f"cv-fold{number}", auc=0.9, epochs=12)
    changed = "What they changed:\n\n- `cv`, 2 of its runs are `cnn_se`: float32, epochs 12 (50)."
    assert series_table(root, PILOT).endswith(changed)


def test_external_sets_are_not_in_the_tables(root: Path) -> None:
    before = [table(root) for table in TABLES.values()]
    path = root / "pilot/reports/metrics.json"
    external = {"lab_b": {"accuracy": 0.25, "specificity": None}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"external": external}))
    assert [table(root) for table in TABLES.values()] == before
