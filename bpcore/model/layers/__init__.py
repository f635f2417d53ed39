"""The layers, one file each, with forward above backward; base.py has their base class."""

from bpcore.model.layers.activation import Activated, Activation
from bpcore.model.layers.base import Layer, check_layers, layer_from_config, places, walk
from bpcore.model.layers.dense import Dense
from bpcore.model.layers.dropout import Dropout
from bpcore.model.layers.maxout import Maxout
from bpcore.model.layers.residual import Residual

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
