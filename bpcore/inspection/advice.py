"""Give advice on one diagnostic sample: the problem, the layers that have it, and a remedy to try."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import takewhile

from bpcore.inspection.probe import DiagnosticSample, LayerSample

APART = 1000.0
"""If gradient norms of two layers differ by more than this factor, gradients vanish or explode; 1 to 100 is healthy."""
LONG = 1000.0
"""A gradient norm above this is too large. Usual norms are 0.01 to 10, or 100 at the beginning of a regression."""
FAR = 1.0
"""An update that moves weights by more than this share of their norm erases what they have learned."""
MANY_DEAD = 0.5
"""The share of a layer's units that may be dead: a network can spare some."""

MAY_PASS = frozenset({"vanishing", "far", "dead"})
"""Kinds that are a problem only if they last: weights that start at zero pass on nothing for a step, but grow fast."""


def advice(sample: DiagnosticSample) -> Iterator[tuple[str, str]]:
    """Yield the problems at one moment as pairs of a kind ("vanishing", "exploding", "far", "dead") and a sentence."""
    weighted = [layer for layer in sample.layers if layer.weight_norm is not None]
    yield from _vanishing(sample, weighted)
    yield from _exploding(sample, weighted)
    yield from _far(sample, weighted)
    yield from _dead(sample)


def _vanishing(sample: DiagnosticSample, layers: Sequence[LayerSample]) -> Iterator[tuple[str, str]]:
    """Report the lowest layers whose gradients are far smaller than the gradient of a layer above.

    The search ends at the first layer that has a gradient again: it reaches that layer past others, in residual blocks.
    """
    norms = [layer.gradient_norm or 0.0 for layer in layers]
    longest = max(range(len(layers)), key=lambda place: norms[place], default=0)
    small = list(takewhile(lambda layer: (layer.gradient_norm or 0.0) * APART < norms[longest], layers[:longest]))
    if not small:
        return
    least = min(small, key=lambda layer: layer.gradient_norm or 0.0)
    squashing = any(name in layer.layer for layer in layers for name in ("sigmoid", "tanh"))
    relu = "the activation relu with " if squashing else ""
    yield (
        "vanishing",
        f"gradients vanish: after step {sample.step} their norm is {short(least.gradient_norm)} in layer "
        f"{least.place} ({least.layer}){_saturation(least)}, but {short(norms[longest])} in layer "
        f"{layers[longest].place}; {_places(small)} {'learns' if len(small) == 1 else 'learn'} next to nothing; try "
        f"{relu}He's initialiser (he_normal), residual blocks (Residual), or fewer layers",
    )


def _exploding(sample: DiagnosticSample, layers: Sequence[LayerSample]) -> Iterator[tuple[str, str]]:
    """Report a gradient that is too large as a whole, or that grows on the way down from the last layer."""
    if not layers:
        return
    last = layers[-1].gradient_norm or 0.0
    worst = max(layers, key=lambda layer: _or_infinite(layer.gradient_norm))
    grows = 0.0 < last * APART < _or_infinite(worst.gradient_norm)
    if not grows and _or_infinite(sample.gradient_norm) <= LONG:
        return
    yield (
        "exploding",
        f"gradients explode: after step {sample.step} their norm is {short(sample.gradient_norm)}, "
        f"{short(worst.gradient_norm)} of it in layer {worst.place} ({worst.layer}) and {short(last)} in layer "
        f"{layers[-1].place}; try clipping (max_norm=1), a smaller learning rate (now {sample.learning_rate:.3g}), "
        f"inputs and targets of about size 1, He's initialiser (he_normal), or residual blocks (Residual)",
    )


def _far(sample: DiagnosticSample, layers: Sequence[LayerSample]) -> Iterator[tuple[str, str]]:
    """Report layers whose weights the next update moves by more than their own norm."""
    moved = [layer for layer in layers if layer.update_ratio is not None and _or_infinite(layer.update_ratio) > FAR]
    if not moved:
        return
    worst = max(moved, key=lambda layer: _or_infinite(layer.update_ratio))
    yield (
        "far",
        f"updates are as large as the weights: after step {sample.step} the next one moves layer {worst.place} "
        f"({worst.layer}) by {short(worst.update_ratio)} of its length, where 0.001 is usual; try a smaller learning "
        f"rate (now {sample.learning_rate:.3g}), or clipping (max_norm=1)",
    )


def _dead(sample: DiagnosticSample) -> Iterator[tuple[str, str]]:
    """Report layers most of whose units are 0 for every row, or most of whose Maxout pieces never win."""
    found = [layer for layer in sample.layers if layer.dead and layer.units and layer.dead > MANY_DEAD * layer.units]
    if not found:
        return
    worst = max(found, key=lambda layer: (layer.dead or 0) / (layer.units or 1))
    pieces = worst.layer.startswith("Maxout")
    instead = "fewer pieces" if pieces else "the activation leaky_relu, or biases that begin above 0"
    yield (
        "dead",
        f"{'pieces' if pieces else 'units'} are dead: after step {sample.step} {worst.dead} of the {worst.units} in "
        f"layer {worst.place} ({worst.layer}) have no gradient for any sample, in {_places(found)} more than half; try "
        f"a smaller learning rate (now {sample.learning_rate:.3g}){' or' if pieces else ','} {instead}",
    )


def _places(layers: Sequence[LayerSample]) -> str:
    """Name the layers in a few words."""
    places = [layer.place for layer in layers]
    if len(places) == 1:
        return f"layer {places[0]}"
    if len(places) <= 4:
        return f"layers {', '.join(places[:-1])} and {places[-1]}"
    return f"{len(places)} layers from {places[0]} to {places[-1]}"


def _saturation(layer: LayerSample) -> str:
    share = layer.saturated or 0.0
    return f", where {100 * share:.0f} % is saturated" if share > 0.5 else ""


def _or_infinite(norm: float | None) -> float:
    """Return the norm, or infinity for None and NaN: they count as too large."""
    return math.inf if norm is None or math.isnan(norm) else norm


def short(value: float | None) -> str:
    """Write a number with three digits, or "-" for None."""
    return "-" if value is None else f"{value:.3g}"
