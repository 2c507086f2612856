"""Imported first by every stage: this checkout's library, and quiet native logs.

A queued or temporary experiment runs in a checkout of its own, where an editable install
would silently import the workspace's library instead.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
