"""The layers, one file each: forward above backward, sharing names and shapes (base.py)."""

from bpcore.layers.activation import Activated, Activation
from bpcore.layers.base import Layer, check_layers, layer_from_config, places, walk
from bpcore.layers.dense import Dense
from bpcore.layers.dropout import Dropout
from bpcore.layers.maxout import Maxout
from bpcore.layers.residual import Residual

__all__ = [
    "Activated",
    "Activation",
    "Dense",
    "Dropout",
    "Layer",
    "Maxout",
    "Residual",
    "check_layers",
    "layer_from_config",
    "places",
    "walk",
]
