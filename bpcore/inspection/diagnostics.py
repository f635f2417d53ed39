"""Watching a network learn: samples of what goes on in its layers, and a warning in words where something is wrong."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from bpcore.errors import counted
from bpcore.inspection.advice import MAY_PASS, advice, short
from bpcore.inspection.probe import DiagnosticSample, Probe
from bpcore.training.callbacks import Callback
from bpcore.training.run import Run


class Diagnostics(Callback):
    """Looks into a network while it learns, and says in words when gradients vanish or explode, or units die.

        diagnostics = Diagnostics()
        network.fit(x, y, callbacks=[diagnostics])
        print(diagnostics)

    every    a sample after every so many steps; before the first step and after each epoch where not given
    rows     how many training samples are looked at, always the same ones
    notify   who is told a warning, once for each kind, and where it may pass only if two samples in a row show it;
             warnings.warn where not given

    `samples` holds the figures, `warnings` what was said, `seconds` the time that all this took. Each sample costs
    about a training step of so many rows, run from Python; parameters, gradients and activations are brought to the
    host, which goes through them once. Between the samples it costs nothing. It takes the device's memory for a copy of
    the parameters and of the optimizer's state, and for the buffers of these rows.
    """

    _probe: Probe | None

    def __init__(
        self, every: int | None = None, *, rows: int = 256, notify: Callable[[str], None] | None = None
    ) -> None:
        self.every = None if every is None else counted("every", every)
        self.rows = counted("rows", rows)
        self.notify = notify
        self._forget()

    def on_begin(self, run: Run) -> None:
        """The first sample, of the network as it was given."""
        self._forget()
        began = time.perf_counter()
        self._probe = Probe(run, self.rows)
        self.seconds += time.perf_counter() - began
        self._take(run.epoch * run.steps_per_epoch)

    def on_progress(self, run: Run) -> None:
        """A sample, where it is time by `every`."""
        step = run.epoch * run.steps_per_epoch + run.batch
        if self.every is not None and step % self.every == 0:
            self._take(step)

    def on_epoch_end(self, run: Run) -> None:
        """A sample, where `every` says nothing."""
        if self.every is None:
            self._take(run.epoch * run.steps_per_epoch)

    def on_end(self, run: Run) -> None:
        """Give the device's memory back."""
        self._probe = None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "every": self.every,
            "rows": self.rows,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "samples": [asdict(sample) for sample in self.samples],
        }

    def __str__(self) -> str:
        if not self.samples:
            return "no samples yet"
        last = self.samples[-1]
        return "\n".join([title(last), *_aligned(table(last)), *self.warnings])

    def _forget(self) -> None:
        self.samples: list[DiagnosticSample] = []
        self.warnings: list[str] = []
        self.seconds = 0.0
        self._found: dict[str, str] = {}
        self._told: set[str] = set()
        self._probe = None

    def _take(self, step: int) -> None:
        if self._probe is None:
            return
        began = time.perf_counter()
        self.samples.append(self._probe.sample(step))
        self.seconds += time.perf_counter() - began
        before, self._found = self._found, dict(advice(self.samples[-1]))
        for kind, line in self._found.items():
            if kind not in self._told and (kind in before or kind not in MAY_PASS):
                self._told.add(kind)
                self.warnings.append(line)
                if self.notify is None:
                    warnings.warn(line, stacklevel=2)
                else:
                    self.notify(line)


def title(sample: DiagnosticSample) -> str:
    """When a sample was taken, and what holds of the whole network."""
    return (
        f"after step {sample.step} (epoch {sample.epoch:.4g}): loss {sample.loss:.4g}, "
        f"gradient norm {short(sample.gradient_norm)}, learning rate {short(sample.learning_rate)}"
    )


def table(sample: DiagnosticSample, most: int = 24) -> tuple[list[str], list[list[str]]]:
    """The headings, and a row of texts for each layer; of more than `most` layers, so many at equal distances."""
    layers = sample.layers
    if len(layers) > most:
        layers = tuple(layers[round(place)] for place in np.linspace(0, len(layers) - 1, most))
    header = ["layer", "gradient norm", "update / weights", "saturated", "dead units"]
    rows = [
        [
            f"{layer.place} {layer.layer}",
            short(layer.gradient_norm),
            short(layer.update_ratio),
            "-" if layer.saturated is None else f"{100 * layer.saturated:.1f} %",
            "-" if layer.dead is None else f"{layer.dead} of {layer.units}",
        ]
        for layer in layers
    ]
    return header, rows


def _aligned(content: tuple[list[str], list[list[str]]]) -> list[str]:
    """Lines of a table: the first column to the left, figures to the right."""
    lines = [content[0], *content[1]]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return ["  ".join([name.ljust(first), *map(str.rjust, figures, others)]) for name, *figures in lines]
