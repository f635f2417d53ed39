"""The table of arguments and the templates agree, and the table is all that has to be said about a kernel."""

from __future__ import annotations

import inspect

import numba
import pytest

from bpcore.kernels import cpu
from bpcore.kernels.signatures import SIGNATURES, SIZES, Elements, Role


def test_every_kernel_of_the_cpu_is_in_the_table() -> None:
    """A function of a family that is neither in the table nor a helper of a template would be noticed here."""
    public = {
        name
        for family in (cpu.predictions, cpu.batch, cpu.layer, cpu.loss, cpu.update)
        for name, value in vars(family).items()
        if inspect.isfunction(value) and value.__module__ == family.__name__ and not name.startswith("_")
    }
    assert public - {"is_same"} == cpu.TEMPLATES.keys() == SIGNATURES.keys()


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_table_names_the_parameters_of_the_cpus_template(name: str) -> None:
    assert list(SIGNATURES[name].arguments) == list(inspect.signature(cpu.TEMPLATES[name]).parameters)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the GPU's kernels are not loaded without the compiler")  # type: ignore[attr-defined]
def test_the_table_names_the_parameters_of_the_gpus_templates() -> None:
    cuda = pytest.importorskip("bpcore.kernels.cuda", reason="numba-cuda is not installed")
    named = {name: list(signature.arguments) for name, signature in SIGNATURES.items() if signature.division}
    templates = cuda.launching.TEMPLATES
    assert {name: list(inspect.signature(templates[name]).parameters) for name in templates} == named
    assert cuda.PLANS.keys() == templates.keys()


def test_shapes_are_written_in_known_sizes() -> None:
    arguments = [argument for signature in SIGNATURES.values() for argument in signature.arguments.values()]
    used = {size for argument in arguments for shape in argument.shapes for size in shape}
    assert {size for size in used if not size.isdigit()} == SIZES.keys()
    for argument in arguments:
        assert bool(argument.shape) == (
            argument.role not in (Role.NUMBER, Role.NUMBERS, Role.FIRST, Role.FIRST_PARAMETER)
        )
        assert len(argument.shapes) <= 1 or argument.elements is Elements.TARGETS
