"""Files of weights by the content of their arrays, whatever wrote them.

The identity of a content is the SHA-256 of, for each array in the order of the names, the line
`<name> <dtype> <shape>` (UTF-8, as in `block1_conv1/0 float16 3x3x3x64`, with a newline) and the
array's bytes: little-endian, the last axis fastest. The file's name, date, compression, attributes
and order are no part of it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from malaria.core.files import mirror_files
from malaria.errors import MalariaError

LAYERS, WEIGHTS = "layer_names", "weight_names"  # attributes of Keras' older layout
Arrays = dict[str, np.ndarray]


def content_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the identity of arrays by name, as 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        shape = "x".join(map(str, array.shape))
        digest.update(f"{name} {array.dtype.name} {shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def read_arrays(path: Path, only: Callable[[str], bool] = lambda name: True) -> Arrays:
    """Return the arrays of an HDF5 file whose names `only` takes.

    In Keras' older layout (VGG's files) an array's name is its layer and its place there, as in
    `block1_conv1/0`, because the names inside differ from release to release; else it is the path
    in the file. Raises MalariaError for a file that cannot be read.
    """
    try:
        with h5py.File(path) as file:
            return {name: data[...] for name, data in _datasets(file) if only(name)}
    except Exception as error:  # whatever h5py raises for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise MalariaError(
            f"{path} cannot be read as a file of weights ({reason}); replace it or remove it."
        ) from None


def mirrored(only: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[Path, Arrays]]:
    """Give each HDF5 file in the folder `$MALARIA_MIRROR` or below it, with what `only` takes.

    The smallest comes first; a damaged one is passed over.
    """
    for path in mirror_files():
        if h5py.is_hdf5(path):
            with suppress(MalariaError):
                yield path, read_arrays(path, only)


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    if LAYERS in file.attrs:
        for layer in map(_text, file.attrs[LAYERS]):
            for place, name in enumerate(map(_text, file[layer].attrs[WEIGHTS])):
                yield f"{layer}/{place}", file[layer][name]
        return
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: found.append((name, item)))
    yield from ((name, item) for name, item in found if isinstance(item, h5py.Dataset))


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
