"""A self-contained web page: no scripts, no links, pictures embedded. The functions here escape all texts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --faint: #666; --line: #ddd; --panel: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #17191c; --faint: #a0a0a0; --line: #3a3d42; --panel: #22252a; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
p { margin: .4rem 0; overflow-wrap: anywhere; }
dl.figures { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.2rem 0; }
dl.figures div { flex: 1 1 8rem; background: var(--panel); border-radius: 6px; padding: .6rem .9rem; }
dl.figures dt { color: var(--faint); font-size: .85rem; }
dl.figures dd { margin: 0; font-size: 1.35rem; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; border-radius: 4px; }
figcaption { color: var(--faint); font-size: .9rem; margin-top: .3rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
table.numbers td:first-child { min-width: 8rem; overflow-wrap: break-word; }
table.numbers td:not(:first-child), table.numbers th:not(:first-child) { text-align: right; white-space: nowrap; }
p.warning { border-left: 4px solid #d55e00; background: var(--panel); padding: .5rem .8rem; }
pre { background: var(--panel); border-radius: 6px; padding: .7rem .9rem; overflow-x: auto; font-size: .9rem; }
pre.wraps { white-space: pre-wrap; overflow-wrap: anywhere; }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; --panel: #f2f2f2; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  figure, table, pre, dl.figures div, p.warning { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page; parts are the results of the functions below, from top to bottom."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """A heading of level 1 to 6."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; kind "warning" makes it stand out."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def figures(pairs: Sequence[tuple[str, str]]) -> str:
    """The most important values, in large type: pairs of a name and a value."""
    cells = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="figures">{"".join(cells)}</dl>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A table of names and values, both left-aligned."""
    rows = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in pairs)
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def numbers(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with names in the first column and numbers in the others."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def preformatted(text: str, *, wraps: bool = False) -> str:
    """Text in a fixed-width font that keeps its lines; wraps allows long lines to be broken."""
    return f'<pre class="wraps">{escape(text)}</pre>' if wraps else f"<pre>{escape(text)}</pre>"


def picture(png: bytes, width: int, alt: str, caption: str) -> str:
    """An embedded PNG picture, `width` pixels wide if there is room; alt describes it for those who cannot see it."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = f'<img src="{source}" width="{width}" alt="{escape(alt)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
