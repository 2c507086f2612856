"""Files in DVC's cache, found by their MD5."""

from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from malaria.errors import MalariaError


def find_cached(root: Path, md5: str) -> Path | None:
    """Return the file with this MD5 in the cache of the repository, None where it has none.

    Wherever DVC's settings say that the cache is; no remote is asked. Raises MalariaError where
    DVC cannot read its settings.
    """
    try:
        with Repo(root) as repo:
            path = Path(repo.cache.local.oid_to_path(md5))
    except DvcException as error:
        raise MalariaError(f"DVC cannot open its cache ({error}); mend .dvc/config.") from None
    return path if path.is_file() else None
