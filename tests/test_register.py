"""What a version's description keeps of the model card."""

from malaria.register import DESCRIPTION_LIMIT, describe
from tests.conftest import REPO


def card(*lengths: int) -> str:
    sections = [f"## Part {number}\n\n{'x' * count}" for number, count in enumerate(lengths)]
    return "# Model card: a\n\nOne line.\n\n" + "\n\n".join(sections) + "\n"


def test_a_card_that_fits_is_kept_whole() -> None:
    assert describe(card(100, 200)) == card(100, 200).strip()


def test_the_longest_sections_give_way_and_are_named() -> None:
    text = describe(card(1000, 6000, 2000))
    assert len(text) <= DESCRIPTION_LIMIT
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Model card: a",
        "## Part 0",
        "## Part 2",
    ]
    assert text.endswith("\n\nLeft out: Part 1. model_card.md among the artifacts has all.")


def test_the_pilots_card_keeps_what_it_must_not_be_used_for() -> None:
    text = describe((REPO / "pilot/reports/model_card.md").read_text())
    assert len(text) <= DESCRIPTION_LIMIT
    assert "must not be used for diagnosis" in text
    assert "## Results" in text
    assert "## Limits" in text
    assert "![" not in text
