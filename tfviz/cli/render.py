"""`tfviz render`: draw a job's images and maps as pictures."""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfviz.cli.options import count, listed, new_parser
from tfviz.cli.terminal import Progress, import_tensorflow, print_line
from tfviz.errors import ImageError, JobError, shown

if TYPE_CHECKING:
    from tfviz.jobs.inputs import Input
    from tfviz.jobs.plan import JobPlan
    from tfviz.jobs.storage import Storage
    from tfviz.render.overlays import Look

DONE, SOME_FAILED = 0, 1
Row = dict[str, Any]

_ABOUT = """\
Draw a job's images and maps from its tables without running the network again, and write
index.html, a page that shows them.

  tfviz render results --select "*/cat-*.jpg" --output cats
  tfviz render results --class tabby --limit 20 --output tabbies
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(subparsers.add_parser, "render", help="draw a job's maps as pictures", description=_ABOUT)
    parser.set_defaults(module="tfviz.cli.render")
    parser.add_argument("job", metavar="FOLDER", help="job folder (see `tfviz job`)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--select", default="*", metavar="GLOB", help="images to draw, by path; default: all")
    parser.add_argument("--method", type=listed, metavar="A,B,...", help="methods to draw; default: all methods in the job")
    parser.add_argument(
        "--class", dest="target", metavar="NAME", help="class whose maps are drawn, by number or name; default: all classes"
    )
    parser.add_argument("--limit", type=count, default=100, metavar="N", help="maximum number of images; default: %(default)s")
    return parser


def run(args: argparse.Namespace) -> int:
    """Draw the pictures and return the exit code."""
    import_tensorflow()  # rendering needs the methods' titles and styles
    import tfviz.methods  # noqa: F401
    from tfviz.jobs.plan import read_plan
    from tfviz.jobs.storage import Storage
    from tfviz.render import GalleryEntry, GalleryFailure, write_gallery

    storage = Storage(args.job)
    plan = read_plan(storage)
    if plan is None:
        raise JobError(f"{shown(args.job)} contains no job. Start one with `tfviz job`.")
    entries: list[GalleryEntry] = []
    failures: list[GalleryFailure] = []
    with Progress(args.limit) as progress:
        for one, rows in _chosen(args, storage, plan):
            progress.show(len(entries) + len(failures), one.path)
            try:
                entries.append(_drawn(args.output, len(entries), one, rows, plan))
            except ImageError as error:
                failures.append(GalleryFailure(one.path, str(error)))
    if not entries and not failures:
        raise ImageError(f"No finished maps in {shown(args.job)} match the filters. Check --select, --method and --class.")
    page = write_gallery(args.output, entries, title=f"Pictures from {shown(args.job)}", failures=failures, look=_look())
    print_line(f"Drew {len(entries)} images: {shown(page)}")
    return SOME_FAILED if failures else DONE


def _chosen(args: argparse.Namespace, storage: Storage, plan: JobPlan) -> Iterator[tuple[Input, list[Row]]]:
    """Yield up to --limit images that match the filters, each with its matching rows."""
    from tfviz.jobs.plan import done_shards, inputs_of_shard, part_file
    from tfviz.jobs.schema import arrow
    from tfviz.row_columns import EXPLAINED

    pa, left = arrow(), args.limit
    for number in sorted(done_shards(storage)):
        table = pa.parquet.read_table(pa.BufferReader(storage.read(part_file(number))))
        found: dict[str, list[Row]] = {}
        for row in table.to_pylist():
            if row["status"] == EXPLAINED and _is_chosen(args, row):
                found.setdefault(row["path"], []).append(row)
        for one in inputs_of_shard(storage, plan, number):
            if one.path in found:
                yield one, found[one.path]
                left -= 1
                if not left:
                    return


def _is_chosen(args: argparse.Namespace, row: Row) -> bool:
    names = (str(row["target"]), str(row["target_name"]), *str(row["target_name"]).split(", "))
    is_method = args.method is None or row["method"] in [one.lower().replace("-", "_") for one in args.method]
    return is_method and fnmatch.fnmatch(row["path"], args.select) and (args.target is None or args.target in names)


def _drawn(folder: Path, number: int, one: Input, rows: list[Row], plan: JobPlan) -> Any:
    """Write one image's pictures and return its gallery entry."""
    import numpy as np

    from tfviz.images import write_image
    from tfviz.images.files import image_from_bytes
    from tfviz.images.preprocessing import Preprocessing
    from tfviz.jobs.inputs import content_of
    from tfviz.method_looks import LOOKS
    from tfviz.render import GalleryEntry, GalleryMap, title_of
    from tfviz.render.overlays import blended
    from tfviz.render.pictures import maps_of

    stored = plan.fingerprint["preprocessing"]
    given: Row = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    image = Preprocessing(**given).picture(image_from_bytes(content_of(one), shown(one.path)))
    names = plan.fingerprint["labels"]
    write_image(folder / f"{number:05d}" / "image.png", image)
    maps = []
    for row in rows:
        style = LOOKS[row["method"]].style
        attribution = np.frombuffer(row["map"], np.float16).reshape(row["map_shape"]).astype(np.float32)
        (values,) = maps_of([attribution], count=1)
        path = Path(f"{number:05d}", "-".join(filter(None, (row["method"], str(row["target"] or "")))) + ".png")
        write_image(folder / path, blended(image, values, style, _look()))
        maps.append(GalleryMap(title_of(row["method"]), row["target_name"] or "", path, style))
    best = [(names[c] if c < len(names) else str(c), s) for c, s in zip(rows[0]["classes"], rows[0]["scores"], strict=True)]
    return GalleryEntry(one.path, f"{number:05d}/image.png", best, maps, image.shape[:2])


def _look() -> Look:
    """Return the style shared by the maps and the legend."""
    from tfviz.render.overlays import Look

    return Look(underlay="gray")
