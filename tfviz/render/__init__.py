"""From raw maps to pictures: overlays, figures, contact sheets and the gallery page. Free of TensorFlow."""

from tfviz.render.figure import plot
from tfviz.render.gallery import GalleryEntry, GalleryFailure, GalleryMap, write_gallery
from tfviz.render.overlays import overlay
from tfviz.render.sheet import contact_sheet
from tfviz.render.titles import title_of

__all__ = [
    "GalleryEntry",
    "GalleryFailure",
    "GalleryMap",
    "contact_sheet",
    "overlay",
    "plot",
    "title_of",
    "write_gallery",
]
