"""What a stage may log while it runs."""

from typing import Any, cast

import pytest

from malaria.pipeline.facts import StageFacts
from malaria.tracking.content import LIVE_ONLY
from malaria.tracking.live import StageRun


def test_what_no_output_tells_has_to_be_named() -> None:
    run = StageRun(cast(StageFacts, cast(Any, None)), "", is_on=False)
    run.metrics(dict.fromkeys(LIVE_ONLY, 1.0))
    run.metrics({"loss": 1.0}, step=1)
    with pytest.raises(ValueError, match=r"^\['loss'\]: .* see LIVE_ONLY"):
        run.metrics({"loss": 1.0})
