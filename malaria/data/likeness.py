"""Whether a crop looks like the cells of the set at all: its size and its black background.

Of all 27,558 cells the sides have 40 to 394 px; of the 9,996 cells of the pilot, 13.7 to 60.6 % of
the pixels are black. A model gives a whole field or a photograph a label as it gives one to a cell.
"""

from collections.abc import Mapping

import numpy as np

SIDES = (40, 400)
LEAST_BLACK = 0.1  # share of the pixels
BLACK = 20  # a JPEG of a cell has a background of some small values
LIKE = f"{SIDES[0]} to {SIDES[1]} px a side, at least {LEAST_BLACK:.0%} black around the cell"
LISTED = 5


def unlikeness(pixels: np.ndarray) -> str:
    """Return in what uint8 (H, W, 3) pixels differ from all cells of the set; '' if in nothing."""
    height, width = pixels.shape[:2]
    if not (SIDES[0] <= min(height, width) and max(height, width) <= SIDES[1]):
        return f"is {width} x {height} px"
    black = float((pixels.max(axis=2) < BLACK).mean())
    return f"has {black:.0%} black" if black < LEAST_BLACK else ""


def describe_unlike(found: Mapping[str, str], count: int) -> str:
    """Return a sentence on crops that are unlike all cells of the set, '' if there are none.

    `found` has what `unlikeness` returned by name, `count` is that of all crops.
    """
    odd = {name: reason for name, reason in found.items() if reason}
    if not odd:
        return ""
    shown = "; ".join(f"{name!r} {reason}" for name, reason in list(odd.items())[:LISTED])
    more = f"; and {len(odd) - LISTED} more" if len(odd) > LISTED else ""
    are, their = ("is", "its label means") if len(odd) == 1 else ("are", "their labels mean")
    return (
        f"{len(odd)} of {count} crops {are} unlike any cell of the set ({LIKE}), so {their} "
        f"nothing: {shown}{more}"
    )
