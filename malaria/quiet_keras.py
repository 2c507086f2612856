"""Holds back what TensorFlow writes when it starts.

It writes lines about CUDA and oneDNN whatever the log level.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def held_back() -> Iterator[None]:
    """Show what is written to stderr in the block only if an error ends the block."""
    with tempfile.TemporaryFile() as written:
        terminal = os.dup(STDERR)
        os.dup2(written.fileno(), STDERR)
        try:
            yield
        except Exception:
            written.seek(0)
            os.write(terminal, written.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)
