"""Imported before anything else that uses Keras: holds back what its backend says at start-up.

TensorFlow writes lines about CUDA and oneDNN past every log level. They are shown when the
import fails.
"""

import os
import sys
import tempfile

STDERR = 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with tempfile.TemporaryFile() as held_back:
    terminal = os.dup(STDERR)
    os.dup2(held_back.fileno(), STDERR)
    try:
        import keras  # noqa: F401
    except BaseException:
        held_back.seek(0)
        os.write(terminal, held_back.read())
        raise
    finally:
        sys.stderr.flush()
        os.dup2(terminal, STDERR)
        os.close(terminal)
