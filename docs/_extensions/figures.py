"""Save an example's figures. pyplot doesn't track the figures that `tfviz.plot` returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOTS_PER_INCH = 80


def scrape(block: tuple[str, str, int], block_vars: Mapping[str, Any], gallery_conf: Mapping[str, Any]) -> str:
    """Save the figures that a code block assigned, and return the markup that shows them.

    Args:
        block: the kind, text and line number of the block.
        block_vars: the example's variables and the names of the image files to write.
        gallery_conf: the sphinx-gallery configuration.

    Returns:
        reStructuredText with one directive per figure.
    """
    from sphinx_gallery.scrapers import figure_rst

    paths, content = [], "Chart"
    for name, value in block_vars["example_globals"].items():
        if isinstance(value, Figure) and f"{name} = " in block[1]:
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1], dpi=DOTS_PER_INCH, bbox_inches="tight")
            if any(axes.images for axes in value.axes):
                content = "Images beside their maps"
    title = Path(block_vars["src_file"]).stem.replace("_", " ")
    return figure_rst(paths, gallery_conf["src_dir"], fig_titles=f"{content}: {title}")
