"""What a stage may log while it runs."""

from typing import Any, cast

import pytest

from malaria.record import LIVE_ALONE
from malaria.tracking import Context, StageRun


def test_what_no_output_tells_has_to_be_named() -> None:
    run = StageRun(cast(Context, cast(Any, None)), is_on=False)
    run.metrics(dict.fromkeys(LIVE_ALONE, 1.0))
    run.metrics({"loss": 1.0}, step=1)
    with pytest.raises(ValueError, match=r"^\['loss'\]: .* see LIVE_ALONE"):
        run.metrics({"loss": 1.0})
