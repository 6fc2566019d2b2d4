"""List the site's external links in external_links.txt. This fetches nothing."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", write_links)
    return {"parallel_read_safe": True}


def write_links(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None:
        return
    pages: dict[str, set[str]] = {}
    for page in app.env.found_docs:
        for reference in app.env.get_doctree(page).findall(nodes.reference):
            address = reference.get("refuri", "")
            if address.startswith(("http://", "https://")):
                pages.setdefault(address, set()).add(page)
    lines = [f"{address}  ({', '.join(sorted(found))})\n" for address, found in sorted(pages.items())]
    (app.outdir / "external_links.txt").write_text("".join(lines), encoding="utf-8")
