"""Draw maps as overlays, figures, contact sheets and the gallery page, without TensorFlow."""

from tfviz.render.deviations import standardized
from tfviz.render.figure import plot
from tfviz.render.gallery import write_gallery
from tfviz.render.gallery_entry import GalleryEntry, GalleryFailure, GalleryMap
from tfviz.render.masks import gray_mask, red_mask
from tfviz.render.overlays import overlay
from tfviz.render.panel import Panel, show
from tfviz.render.sheet import contact_sheet
from tfviz.render.titles import title_of

__all__ = [
    "GalleryEntry",
    "GalleryFailure",
    "GalleryMap",
    "Panel",
    "contact_sheet",
    "gray_mask",
    "overlay",
    "plot",
    "red_mask",
    "show",
    "standardized",
    "title_of",
    "write_gallery",
]
