"""The precisions that a network may be given, by name."""

from __future__ import annotations

PRECISIONS = {
    "float32": "the default: float32 throughout",
    "float64": "for gradient checks",
    "tf32": "float32, but products on a GPU's tensor cores keep 10 bits of each factor and sum in float32",
    "bfloat16": "on a GPU, float32 with 8 significant bits in what flows between layers and in factors of products",
}
"""What a network may compute in."""
