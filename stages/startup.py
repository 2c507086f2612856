"""Imported first by every stage: puts this checkout's library before any other.

A queued or temporary experiment runs in a checkout of its own, where an editable install
would silently import the workspace's library instead.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
