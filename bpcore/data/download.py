"""Downloading with pooch: every file checked by its SHA-256, several mirrors, quick to give up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Called as progress(file name, bytes done, bytes in all); 0 in all where the server does not say."""

CONNECT_SECONDS = 6.0
READ_SECONDS = 15.0
_CHUNK = 1 << 16


def download(
    folder: Path, checksums: Mapping[str, str], mirrors: Sequence[str], progress: Progress | None = None
) -> list[str]:
    """Bring the files (name -> SHA-256) into a folder; those that lie there with the right checksum stay.

    Each file is tried at every mirror, first at the one that served the last; a file appears under its name only once
    its checksum is right. Returns [] when all are there, else one phrase a mirror that says why not.
    """
    import pooch  # brings requests, which is slow to import

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"{folder} cannot be written: {error.strerror or error} (BPCORE_CACHE_DIR names another folder)"]
    failures: dict[str, str] = {}
    order = list(mirrors)
    reached: set[str] = set()
    with _quiet(pooch.get_logger()):
        for file, checksum in checksums.items():
            for mirror in list(order):
                reason = _fetch(folder, file, checksum, mirror, progress, known=mirror in reached)
                if reason is None:
                    reached.add(mirror)
                    break
                failures[mirror] = f"{mirror}{file}: {reason}"
                order.append(order.pop(0))
            else:
                return list(failures.values()) or ["no mirror to download from"]
    return []


def _fetch(
    folder: Path, file: str, checksum: str, mirror: str, progress: Progress | None, *, known: bool
) -> str | None:
    """Bring one file from one mirror, known to answer or not; None, or why not."""
    import pooch
    import requests

    url = mirror.rstrip("/") + "/" + file
    try:
        downloader = pooch.HTTPDownloader(
            progressbar=_Bar(file, progress) if progress else False,
            chunk_size=_CHUNK,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        if not known and not (folder / file).is_file() and not _answers(url):
            return f"no answer within {CONNECT_SECONDS:g} s"
        pooch.retrieve(url, f"sha256:{checksum}", fname=file, path=folder, downloader=downloader)
    except requests.RequestException as error:
        return _reason(error)
    except ValueError:
        return "the file there has the wrong checksum"
    except OSError as error:
        return f"cannot be kept in {folder}: {error.strerror or error}"
    return None


def _answers(url: str) -> bool:
    """Whether a server says anything at all in time.

    A connection's own time limit counts anew for every address of the host and not at all while its name is looked
    up, which on a machine cut off from the network can add up to minutes; hence the thread.
    """
    import requests

    answered = threading.Event()

    def ask() -> None:
        try:
            requests.head(url, timeout=CONNECT_SECONDS, allow_redirects=False)
        except requests.Timeout:
            return
        except requests.RequestException:
            pass  # a quick refusal is an answer; the download proper tells what it is
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(CONNECT_SECONDS)


def _reason(error: Exception) -> str:
    """What went wrong, in a few words: the library's own texts run over several lines."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "host name not found" if "NameResolution" in str(error) else "no connection"
    return type(error).__name__


class _Bar:
    """What pooch wants of a progress bar, handed on to a callback."""

    def __init__(self, file: str, progress: Progress) -> None:
        self.file, self.progress = file, progress
        self.total = self.done = 0

    def update(self, count: int) -> None:
        """Count bytes: a whole chunk each time, also where the last is shorter."""
        self.done = min(self.done + count, self.total) if self.total else self.done + count
        self.progress(self.file, self.done, self.total)

    def reset(self) -> None:
        """Begin again: pooch does so before it reports the whole."""
        self.done = 0 if self.total else self.done

    def close(self) -> None:
        """Nothing to close."""


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
