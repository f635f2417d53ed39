"""A backend as another package might provide it."""

from __future__ import annotations

from bpcore.backends.numpy_backend import NumpyBackend


class ToyBackend(NumpyBackend):
    """A backend as another package might provide it."""

    name = "toy"

    def describe(self) -> dict[str, str]:
        return {"device": "toy"}
