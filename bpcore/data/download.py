"""Download files with pooch: SHA-256 checks, several mirrors, short time limits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Called as progress(file name, bytes done, total bytes); the total is 0 if the server does not tell it."""

CONNECT_SECONDS = 6.0
READ_SECONDS = 15.0
_CHUNK = 1 << 16


def download(
    folder: Path, checksums: Mapping[str, str], mirrors: Sequence[str], progress: Progress | None = None
) -> list[str]:
    """Download files (name -> SHA-256) into a folder; files already there with the right checksum are kept.

    Each file is tried at every mirror, starting with the one that served the previous file. A file gets its name only
    after its checksum has been verified. Returns [] on success, else one phrase for each mirror with the reason.
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
    """Download one file from one mirror; None on success, else the reason. known: the mirror has answered before."""
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
    """Whether a server answers within CONNECT_SECONDS.

    The time limit of requests starts anew for every address of the host and does not cover the name look-up, so
    that a machine without a network could wait for minutes; hence the thread.
    """
    import requests

    answered = threading.Event()

    def ask() -> None:
        try:
            requests.head(url, timeout=CONNECT_SECONDS, allow_redirects=False)
        except requests.Timeout:
            return
        except requests.RequestException:
            pass  # a refusal is an answer too; the download itself reports it
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(CONNECT_SECONDS)


def _reason(error: Exception) -> str:
    """A short description of the error; the library's own messages run over several lines."""
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
    """A progress bar, as pooch expects it, that calls back."""

    def __init__(self, file: str, progress: Progress) -> None:
        self.file, self.progress = file, progress
        self.total = self.done = 0

    def update(self, count: int) -> None:
        """Count bytes; pooch reports a whole chunk each time, even if the last one is shorter."""
        self.done = min(self.done + count, self.total) if self.total else self.done + count
        self.progress(self.file, self.done, self.total)

    def reset(self) -> None:
        """Start again; pooch does this before it reports the total."""
        self.done = 0 if self.total else self.done

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
