"""Tools to inspect a network: gradient checks, and diagnostics of its layers during training."""
