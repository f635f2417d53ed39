"""The parts of a backend: what a device must provide, and the operations built on it.

    DeviceArrays -> Device -> Primitives -> LayerOperations, LearningOperations, OutputOperations, BatchOperations

A backend for a device implements the abstract methods of the first two. Everything to their right is written once, for
all devices. bpcore.backends.base.Backend puts the parts together.
"""
