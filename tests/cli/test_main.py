"""What all commands share: their help, and what they say when they are done."""

import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.studies import results

NAMES = [command.__name__ for commands in cli.PANELS.values() for command in commands]


@pytest.mark.parametrize("name", ["", *NAMES])
def test_an_option_without_a_value_has_no_type_in_the_help(name: str) -> None:
    answer = CliRunner().invoke(cli.app, [*([name.replace("_", "-")] if name else []), "--help"])
    assert answer.exit_code == 0
    assert "--help" in answer.output
    assert "<bool>" not in answer.output


def test_results_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"README.md": False, "docs/results.md": True}
    monkeypatch.setattr(results, "write_results", lambda root: changed)
    said = CliRunner().invoke(cli.app, ["results"]).output
    assert said == "README.md: its tables are as they were\ndocs/results.md: new tables\n"
