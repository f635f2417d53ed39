"""Links from a Markdown file to files beside it, as they work in the repository, work on the site as well.

A page may include a file from elsewhere (README.md), or link to one that is no page (a table of results). What such
a link names is looked for from the file that it stands in: a page of the site is linked as a page, any other file
becomes a download, and a folder stays plain text. What is not there stays as it is, and Sphinx warns of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

PAGES = {"benchmarks/README.md": "guides/benchmarking", "README.md": "index"}
"""Files of the repository that are no page by themselves -> the page that includes them, or takes their place."""


def settle(app: Sphinx, doctree: nodes.document) -> None:
    """Settle the links that MyST leaves open or takes for links to pages outside docs/."""
    for reference in list(doctree.findall(addnodes.pending_xref)):
        if reference.get("reftype") == "myst":
            _settle_one(app, doctree, reference)


def _settle_one(app: Sphinx, doctree: nodes.document, reference: addnodes.pending_xref) -> None:
    if reference.get("refdomain") == "doc" and reference["reftarget"] in app.env.found_docs:
        return
    target, _, anchor = reference["reftarget"].partition("#")
    page = app.env.doc2path(app.env.docname)
    source = Path(reference.source or page)
    path = Path(os.path.normpath(source.parent / target))
    if reference.get("refdomain") == "doc":  # MyST has taken the suffix away, and looked from the page
        path = Path(os.path.normpath(Path(app.srcdir) / (target + ".md")))
    repository = Path(app.srcdir).parent
    name = path.relative_to(repository).as_posix() if path.is_relative_to(repository) else ""
    found = PAGES.get(name) or (app.env.path2doc(path) if path.is_file() else None)
    if found in app.env.found_docs:
        reference["refdomain"], reference["reftarget"] = "doc", found
        reference["reftargetid"] = anchor or reference.get("reftargetid")
    elif path.is_file():
        where = Path(os.path.relpath(path, Path(page).parent)).as_posix()
        download = addnodes.download_reference(reftarget=where, refdoc=app.env.docname, reftype="myst")
        download += reference.children
        reference.replace_self(download)
    elif path.is_dir() and target:
        reference.replace_self(reference.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Before Sphinx collects the downloads."""
    app.connect("doctree-read", settle, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
