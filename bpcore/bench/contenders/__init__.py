"""The contenders by name. Each has its own module, which only its own process imports."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpcore.bench.contenders.base import Contender


@dataclass(frozen=True)
class Entry:
    """Where to find a contender and what it needs.

    target     "module:class" below this package
    package    the package it needs
    install    the command that installs the package
    devices    the backends it runs on; () for all
    """

    target: str
    package: str = "numpy"
    install: str = ""
    devices: tuple[str, ...] = ()

    def on(self, device: str) -> bool:
        """Whether it runs on the device of a backend."""
        return not self.devices or device in self.devices

    @property
    def installed(self) -> bool:
        """Whether its package is installed."""
        return find_spec(self.package) is not None

    def load(self) -> type[Contender]:
        """Import the framework and return the contender's class."""
        module, _, name = self.target.partition(":")
        found: type[Contender] = getattr(importlib.import_module(f"bpcore.bench.contenders.{module}"), name)
        return found


CPU, GPU = "numpy", "cupy"

OURS = {
    "bpcore": Entry("own:Bpcore"),
    "products": Entry("products:Products", devices=(CPU, GPU)),
}
PEERS = {
    "torch": Entry("torch_eager:TorchEager", "torch", "pip install torch", (CPU, GPU)),
    "torch-compile": Entry("torch_compile:TorchCompile", "torch", "pip install torch", (CPU, GPU)),
    "torch-graph": Entry("torch_graph:TorchGraph", "torch", "pip install torch", (GPU,)),
    "jax": Entry("jax_scan:JaxScan", "jax", 'pip install jax (on a GPU: pip install "jax[cuda12]")', (CPU, GPU)),
    "sklearn": Entry("sklearn_mlp:SklearnMlp", "sklearn", "pip install scikit-learn", (CPU,)),
    "thinc": Entry("thinc_chain:ThincChain", "thinc", "pip install thinc", (CPU, GPU)),
}
CONTENDERS = OURS | PEERS
