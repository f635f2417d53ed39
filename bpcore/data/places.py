"""Where data sets that are not part of a package are looked for: the user's folders, then the cache of downloads."""

from __future__ import annotations

import os
from pathlib import Path

from bpcore.data.files import check_folder
from bpcore.errors import InputError


class DataUnavailable(InputError):  # noqa: N818  it is no fault in the input
    """A data set is neither on this machine nor downloadable."""


def given_folders(data_dir: str | Path | None) -> list[tuple[Path, str]]:
    """data_dir and $BPCORE_DATA_DIR, as far as they are given, each with what to call it.

    InputError for a data_dir that is not there; the variable may name a folder that is not.
    """
    folders = []
    if data_dir is not None:
        folder = check_folder(data_dir)
        folders.append((folder, str(folder)))
    variable = os.environ.get("BPCORE_DATA_DIR")
    if variable:
        folders.append((Path(variable).expanduser(), f"BPCORE_DATA_DIR={variable}"))
    return folders


def cache_folder() -> Path:
    """Where downloads are kept: $BPCORE_CACHE_DIR/data, else data in the user's cache folder for bpcore."""
    chosen = os.environ.get("BPCORE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser() / "data"
    import pooch  # slow, and not needed where the data is at hand

    return Path(pooch.os_cache("bpcore")) / "data"
