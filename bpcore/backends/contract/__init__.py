"""The parts of a backend: what a device must provide, and the operations built on it.

    DeviceArrays -> Device -> Primitives -> BatchOperations, LayerOperations, LossOperations, ...

A backend for a device implements the abstract methods of the first two classes. The operations are written once, for
all devices, in one file for each stage of a step, like their kernels: batch, layer, loss, update, predictions.
bpcore.backends.base.Backend puts the parts together.
"""
