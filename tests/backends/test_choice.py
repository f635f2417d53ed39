"""The choice of a backend by name, reason and entry point."""

from __future__ import annotations

import importlib.metadata

import pytest

from bpcore import Dense, Network
from bpcore.backends import available_backends, get_backend
from bpcore.errors import BpcoreError


def test_backends_are_chosen_by_name_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    states = available_backends()
    assert states["numpy"] == "available"
    assert set(states) >= {"numpy", "cupy"}
    chosen = get_backend("auto")
    assert chosen.reason
    assert get_backend(chosen) is chosen
    monkeypatch.setenv("BPCORE_BACKEND", "numpy")
    assert get_backend().name == "numpy"
    assert get_backend().reason == "BPCORE_BACKEND=numpy"
    if states["cupy"] != "available":
        with pytest.raises(BpcoreError):
            get_backend("cupy")


def test_devices_have_plain_names() -> None:
    assert Network([Dense(3)], backend="cpu").backend.name == "numpy"


def test_another_packages_backend_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("toy", "support.toy_backend:ToyBackend", "bpcore.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == "bpcore.backends" else [])
    assert available_backends()["toy"] == "available"
    assert get_backend("toy").describe() == {"device": "toy"}
    broken = importlib.metadata.EntryPoint("broken", "no_such_module:Backend", "bpcore.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [broken])
    assert "cannot be loaded" in available_backends()["broken"]
