"""The folders to search for downloaded data sets: the user's, then the download cache."""

from __future__ import annotations

import os
from pathlib import Path

from bpcore.data.files import check_folder
from bpcore.errors import InputError


class DataUnavailable(InputError):  # noqa: N818  the input is not at fault
    """A data set is neither on this machine nor downloadable."""


def given_folders(data_dir: str | Path | None) -> list[tuple[Path, str]]:
    """The folders of data_dir and $BPCORE_DATA_DIR, if given, each with a label for messages.

    InputError for a data_dir that does not exist; the folder of the variable need not exist.
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
    """The folder for downloads: $BPCORE_CACHE_DIR/data, else `data` in the user's cache folder for bpcore."""
    chosen = os.environ.get("BPCORE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser() / "data"
    import pooch  # slow to import, and needed only to download

    return Path(pooch.os_cache("bpcore")) / "data"
