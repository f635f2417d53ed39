"""`bpcore info`: devices and which one is chosen, versions, data sets, caches and environment variables."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bpcore import __version__
from bpcore.backends import available_backends, get_backend
from bpcore.backends.cpu_threads import THREAD_VARIABLES
from bpcore.cli.report import Report, columns, shortened
from bpcore.data import DATASETS, DOWNLOADED
from bpcore.data.search_folders import cache_folder
from bpcore.errors import BpcoreError

PACKAGES = ("safetensors", "pooch", "pillow", "rich", "typer")
VARIABLES = (
    "BPCORE_BACKEND",
    "BPCORE_DATA_DIR",
    "BPCORE_CACHE_DIR",
    *THREAD_VARIABLES,
)


def info(report: Report) -> int:
    """Print the facts, and write them as JSON if --json is given. Returns the exit code."""
    facts = collect()
    versions = facts["versions"]
    report.result(f"bpcore {versions['bpcore']}, Python {versions['python']}, {facts['platform']}", "", "devices")
    for name, device in facts["devices"].items():
        mark = "*" if name == facts["chosen"]["backend"] else " "
        if device["state"] == "available":
            report.result(f"{mark} {name}", *columns(list(device["about"].items()), indent="    "))
        else:
            report.result(f"{mark} {name}", f"    {device['state']}")
    report.result(f"  auto selects {facts['chosen']['backend']}: {facts['chosen']['why']}")
    packages = ", ".join(f"{name} {number}" for name, number in versions.items() if name not in ("bpcore", "python"))
    report.result("", f"packages  {packages}")
    report.result("", "data sets", *columns([(f"  {name}", where) for name, where in facts["data_sets"].items()]))
    report.result("", "caches", *columns([(f"  {name}", shortened(path)) for name, path in facts["caches"].items()]))
    if facts["environment"]:
        report.result("", "environment", *columns(list(facts["environment"].items()), indent="  "))
    report.write(facts)
    return 0


def collect() -> dict[str, Any]:
    """The facts as JSON values."""
    devices: dict[str, Any] = {}
    for name, state in available_backends().items():
        devices[name] = {"state": state}
        if state == "available":
            devices[name]["about"] = get_backend(name).describe()
    try:
        chosen = get_backend("auto")
        choice: dict[str, str | None] = {"backend": chosen.name, "why": chosen.reason}
    except BpcoreError as error:  # BPCORE_BACKEND names a backend that cannot be used
        choice = {"backend": None, "why": str(error)}
    from bpcore.kernels.build import cache_folder as kernel_folder  # imports Numba, which the backends have done

    return {
        "versions": {"bpcore": __version__, "python": platform.python_version(), **_versions()},
        "platform": f"{sys.platform} {platform.machine()}",
        "devices": devices,
        "chosen": choice,
        "data_sets": {name: where(name) for name in DATASETS},
        "caches": {"kernels": str(kernel_folder()), "data": str(cache_folder())},
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def where(name: str) -> str:
    """Where a built-in data set is, or how to get it."""
    if name in DOWNLOADED:
        variable = os.environ.get("BPCORE_DATA_DIR")
        bases = [Path(variable).expanduser()] if variable else []
        for base in (*bases, cache_folder() / name):
            try:
                folder = DOWNLOADED[name](base)
            except BpcoreError as error:
                return str(error)
            if folder:
                return f"available in {shortened(folder)}"
        return "not on this machine; downloaded when it is used"
    try:
        return f"available: {DATASETS[name](None, None).source}"
    except BpcoreError as error:
        return str(error)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
