"""The recipe that a page shows."""

import json
from dataclasses import asdict, replace
from typing import Any

from malaria.models.base.recipe import ARTICLE_1, SHIFTED, Recipe
from malaria.report.recipe_changes import recipe_rows


def trained(recipe: Recipe, **published: Any) -> dict[str, Any]:
    """Return what train.json has of a recipe, and the published values it differs from."""
    content = {"recipe": asdict(recipe), "published": published}
    return dict(json.loads(json.dumps(content)))


def test_values_that_were_used_stand_beside_the_published_ones() -> None:
    recipe = replace(ARTICLE_1, epochs=6, augment=replace(SHIFTED, horizontal_flip=False))
    rows = recipe_rows(trained(recipe, **{"epochs": 25, "augment.horizontal_flip": True}))
    assert rows["optimizer"] == ("adam", "")
    assert rows["learning_rate"] == ("0.001", "")
    assert rows["epochs"] == ("6", "25")
    assert rows["augment.zoom_range"] == ("[0.95, 1.05]", "")
    assert rows["augment.horizontal_flip"] == ("False", "True")  # switched off
    assert not {"body_learning_rate", "augment.vertical_flip", "augment.contrast_range"} & set(rows)


def test_without_augmentation_one_row_says_so() -> None:
    rows = recipe_rows(trained(ARTICLE_1))
    assert {key for key in rows if "augment" in key} == {"augment"}
    assert rows["augment"] == ("none", "")
