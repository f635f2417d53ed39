"""Tables that are made from bpcore's own: an entry that is added there comes in without an edit here.

A formula here is nicer to read than the docstring or the code, which is shown where there is none.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from bpcore.kernels import cpu
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.signatures import SIGNATURES, SIZES, Argument, Elements
from bpcore.model.initializers import INITIALIZERS

FORMULAS = {  # f(z), and its derivative as a function of what is saved
    "identity": ("z", "1"),
    "sigmoid": (r"\frac{1}{1 + e^{-z}}", r"a (1 - a)"),
    "tanh": (r"\tanh z", r"1 - a^2"),
    "relu": (r"\max(0, z)", r"1 \text{ for } a > 0, \text{ else } 0"),
    "leaky_relu": (r"z \text{ for } z \geq 0, \text{ else } p z", r"1 \text{ for } z > 0, \text{ else } p"),
    "prelu": (r"z \text{ for } z \geq 0, \text{ else } p z", r"1 \text{ for } z > 0, \text{ else } p"),
    "elu": (r"z \text{ for } z \geq 0, \text{ else } p (e^z - 1)", r"1 \text{ for } a > 0, \text{ else } a + p"),
    "selu": (
        r"\lambda z \text{ for } z \geq 0, \text{ else } \lambda \alpha (e^z - 1)",
        r"\lambda \text{ for } a > 0, \text{ else } a + \lambda \alpha",
    ),
    "softplus": (r"\ln(1 + e^z)", r"1 - e^{-a}"),
    "silu": (r"z \sigma(z)", r"\sigma(z) + z \sigma(z) (1 - \sigma(z))"),
    "gelu": (r"z \Phi(z)", r"\Phi(z) + z \varphi(z)"),
    "mish": (r"z \tanh s, \quad s = \ln(1 + e^z)", r"\tanh s + z \sigma(z) (1 - \tanh^2 s)"),
}

LOSS_FORMULAS = {  # the loss of one sample, and its delta
    "squared_error": (r"\frac{1}{2} \sum_j (a_j - y_j)^2", r"a - y"),
    "huber": (
        r"\sum_j \frac{1}{2} d_j^2 \text{ for } |d_j| \leq t, \text{ else } t (|d_j| - \frac{t}{2}), \quad d = a - y",
        r"\max(-t, \min(t, a - y))",
    ),
    "softmax_cross_entropy": (r"-\sum_j y_j \ln \hat{y}{}_j, \quad \hat{y} = \mathrm{softmax}(z)", r"\hat{y} - y"),
    "binary_cross_entropy": (
        r"-\sum_j \left( y_j \ln s_j + (1 - y_j) \ln(1 - s_j) \right), \quad s = \sigma(z)",
        r"s - y",
    ),
    "poisson": (r"\sum_j \left( y_j \ln \frac{y_j}{a_j} - y_j + a_j \right), \quad a = e^z", r"a - y"),
    "hinge": (
        r"\sum_{j \neq y} \max(0, z_j - z_y + 1)",
        r"\delta_j = [z_j - z_y + 1 > 0], \quad \delta_y = -\sum_{j \neq y} \delta_j",
    ),
}

INITIAL = {  # the distribution of one weight
    "he_normal": r"\text{normal, variance } 2 / N",
    "he_uniform": r"\text{uniform on } \pm \sqrt{6 / N}",
    "xavier_normal": r"\text{normal, variance } 2 / (N + M)",
    "xavier_uniform": r"\text{uniform on } \pm \sqrt{6 / (N + M)}",
    "lecun_normal": r"\text{normal, variance } 1 / N",
    "lecun_uniform": r"\text{uniform on } \pm \sqrt{3 / N}",
    "standard_normal": r"\text{normal, variance } 1",
    "identity": r"1 \text{ on the diagonal, else } 0",
    "zeros": "0",
}

PREDICTIONS = {"label": "a class", "yes_or_no": "yes or no", "number": "numbers", "count": "counts"}

Row = Sequence[str]


class Activations(SphinxDirective):
    """kernels/activations.py's table."""

    def run(self) -> list[nodes.Node]:
        """One row an entry, in the table's order."""
        rows = []
        for name, entry in ACTIVATIONS.items():
            functions = entry.f, entry.derivative
            f, derivative = map(_formula, FORMULAS[name]) if name in FORMULAS else map(_described, functions)
            parameter = "learned, " if entry.learned else ""
            parameter = f"{parameter}{entry.parameter:g}" if entry.learned or entry.parameter else ""
            saved = "a" if entry.saves == "output" else "z"
            rows.append([f"`{name}`", f, derivative, f"${saved}$", parameter, f"`{entry.initializer}`"])
        header = ["name", "$f(z)$", "$f'$ from what is saved", "saved", "$p$", "weights begin"]
        return self.parse_text_to_nodes(_table(header, rows))


class Losses(SphinxDirective):
    """kernels/losses.py's table."""

    def run(self) -> list[nodes.Node]:
        """One row an entry."""
        rows = []
        for name, entry in LOSSES.items():
            said = map(_formula, LOSS_FORMULAS[name]) if name in LOSS_FORMULAS else _paragraphs(entry.row)
            settings = ", ".join(f"`{setting.name}={setting.default:g}`" for setting in entry.settings)
            rows.append([f"`{name}`", *said, PREDICTIONS[entry.predicts], settings])
        return self.parse_text_to_nodes(_table(["name", "of one sample", "delta", "predicts", "settings"], rows))


class Initializers(SphinxDirective):
    """bpcore/model/initializers.py's table."""

    def run(self) -> list[nodes.Node]:
        """One row an entry, with the activations that take it where nothing is said."""
        rows = []
        for name in INITIALIZERS:
            takers = [f"`{entry.name}`" for entry in ACTIVATIONS.values() if entry.initializer == name]
            rows.append([f"`{name}`", _formula(INITIAL[name]) if name in INITIAL else "", ", ".join(takers)])
        return self.parse_text_to_nodes(
            _table(["name", "one weight of $N$ inputs, $M$ outputs", "activations that begin so"], rows)
        )


class Kernels(SphinxDirective):
    """The table of kernels/signatures.py: the kernels of both devices, and what the sizes in their shapes count."""

    def run(self) -> list[nodes.Node]:
        """One row for each kernel, with its arguments in their order; then one for each size."""
        rows = []
        for name, signature in SIGNATURES.items():
            if signature.division:
                arguments = ", ".join(_argument(*named) for named in signature.arguments.items())
                rows.append([f"`{name}`", (inspect.getdoc(cpu.TEMPLATES[name]) or "").partition("\n")[0], arguments])
        sizes = [[f"`{size}`", count] for size, count in SIZES.items()]
        return [
            *self.parse_text_to_nodes(_table(["kernel", "what it does", "arguments"], rows)),
            *self.parse_text_to_nodes(_table(["size", "what it counts"], sizes)),
        ]


def _argument(name: str, argument: Argument) -> str:
    """An argument with its dtype, where that is an integer, and its shape; in bold if the kernel writes it."""
    words = [f"**{name}**" if argument.written else name]
    words += [argument.elements.value] * (argument.elements in (Elements.INT64, Elements.INT32))
    words += [" or ".join(f"({', '.join(shape)})" for shape in argument.shapes)] * bool(argument.shapes)
    return " ".join(words)


def _formula(tex: str) -> str:
    return f"${tex}$"


def _described(function: Callable[..., object]) -> str:
    """The docstring of a function, if it has any, or else its body, in one line."""
    if function.__doc__:
        return _literal(function.__doc__)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    return "; ".join(f"`{ast.unparse(line)}`" for line in tree.body)


def _paragraphs(function: Callable[..., object]) -> tuple[str, str]:
    """The first two paragraphs of a docstring."""
    first, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    second = rest.partition("\n\n")[0]
    return _literal(first), _literal(second) if second else ""


def _literal(text: str) -> str:
    """Text as it is, in one line of a table."""
    return f"`{' '.join(text.split())}`".replace("|", r"\|")


def _refuse_unknown_names() -> None:
    """A formula of something that is in no table."""
    for formulas, table in ((FORMULAS, ACTIVATIONS), (LOSS_FORMULAS, LOSSES), (INITIAL, INITIALIZERS)):
        if unknown := sorted(set(formulas) - set(table)):
            have = ", ".join(table)
            raise ExtensionError(f"docs/sphinx/tables.py has a formula of {', '.join(unknown)}; the table has {have}")


def _table(header: Row, rows: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """The directives."""
    _refuse_unknown_names()
    app.add_directive("activations", Activations)
    app.add_directive("losses", Losses)
    app.add_directive("initializers", Initializers)
    app.add_directive("kernels", Kernels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
