"""Imported before anything else that uses Keras: holds back what its backend says at start-up.

TensorFlow writes lines about CUDA and oneDNN past every log level. They are shown when the
start fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def held_back() -> Iterator[None]:
    """Show what is written to stderr only if the block fails."""
    with tempfile.TemporaryFile() as written:
        terminal = os.dup(STDERR)
        os.dup2(written.fileno(), STDERR)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(terminal, written.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)


with held_back():
    import keras  # noqa: F401
