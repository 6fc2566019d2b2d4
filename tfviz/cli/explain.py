"""`tfviz explain`: find the images, explain them batch by batch, and print a summary."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tfviz.cli.background import Background, RunningCall
from tfviz.cli.options import add_backgrounds, add_model, add_preprocess, count, listed, new_parser, size
from tfviz.cli.signals import exit_code
from tfviz.cli.terminal import Progress, import_tensorflow, print_line
from tfviz.errors import ImageError
from tfviz.method_looks import MOST_ROWS_OF_ALL

if TYPE_CHECKING:
    import numpy as np

    from tfviz.cli.jobs import Job
    from tfviz.cli.plan import Plan
    from tfviz.cli.results import Results
    from tfviz.images.batches import ImageBatch
    from tfviz.methods.explainer import Explainer

    Step: TypeAlias = tuple[Explainer, Sequence[np.ndarray | None]]

SCALES = ("map", "image")
EXPLAINED, SOME_FAILED = 0, 1
DEFAULT_OUTPUT = "tfviz-output"

_ABOUT = """\
Write colored maps of what the network looks at in each image, and OUTPUT/index.html, a page
that shows them next to the predicted classes and opens without a server:

  OUTPUT/index.html
  OUTPUT/IMAGE/image.png              the part of the image that the network sees, at most
                                      1600 pixels a side
  OUTPUT/IMAGE/METHOD.png             the map for the top class, or for a method without a target
  OUTPUT/IMAGE/METHOD-281-tabby.png   the map for a class from --target, by number and name
  OUTPUT/IMAGE/image-scale/METHOD…    if there are several classes: the same maps, with all classes
                                      of the image on one scale. With --scale image, the files
                                      above have that scale, and map-scale/ holds the others
  OUTPUT/IMAGE/METHOD.npy             with --raw: the map itself, float32, neither resized nor
                                      scaled: (h, w) at the layer's resolution, or
                                      (height, width, channels) of the network's input

IMAGE is the file's path inside the given folder without its extension. The extension is kept if
two images would otherwise share a name.
"""
_EXIT_CODES = """\
exit code: 0 all images explained
           1 some images could not be read or explained; the last lines list them with the reason
           2 a usage error, a missing path, or a model that cannot be explained
           130, 143, 129 stopped by Ctrl-C, SIGTERM or SIGHUP; the finished maps are kept and
           appear in index.html
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command."""
    parser = new_parser(subparsers.add_parser, "explain", help="explain images", description=_ABOUT, epilog=_EXIT_CODES)
    parser.set_defaults(module="tfviz.cli.explain")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image files, or folders to search for them")
    add_model(parser, weights="imagenet", choices='"imagenet" (downloaded by Keras),')
    add_preprocess(parser)
    parser.add_argument(
        "--method",
        type=listed,
        metavar="A,B,...",
        help='methods (see `tfviz methods`); "all" selects the methods that support the model and run it at most '
        f"{MOST_ROWS_OF_ALL} times per image; add others after a comma: all,rise; default: grad_cam,guided_backprop",
    )
    add_backgrounds(parser)
    parser.add_argument("--layer", metavar="L", help="layer for methods that take one (see `tfviz layers`); default: automatic")
    parser.add_argument(
        "--target",
        type=listed,
        default=["top"],
        metavar="T,...",
        help="classes to explain, by number or name; top: the top class; top3: the top three; default: top",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="F", help="class names: .txt, one per line, or .json; default: the model's own"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(DEFAULT_OUTPUT), metavar="DIR", help="folder to write to; default: %(default)s"
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        default=16,
        metavar="N",
        help="images per batch, and copies of images for methods that perturb them; default: %(default)s",
    )
    parser.add_argument(
        "--image-size",
        type=size,
        metavar="HxW",
        help="input size, for networks that accept any size; default: the network's own",
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="map",
        help="map: scale each map on its own; image: all classes of an image share one scale per method; default: %(default)s",
    )
    parser.add_argument(
        "--underlay",
        choices=("gray", "color"),
        default="gray",
        help="draw the image under the map in gray (so that its colors don't mix with the map's) or in color; "
        "default: %(default)s",
    )
    parser.add_argument("--raw", action="store_true", help="also write the maps as arrays (.npy)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Explain the images and return the exit code."""
    from tfviz.cli.jobs import find_jobs, require_writable

    jobs = find_jobs(args.paths, args.output)
    require_writable(args.output)
    with Progress(len(jobs)) as progress:
        progress.show(0, "starting TensorFlow")
        # Takes seconds, so everything that can be checked without TensorFlow comes first.
        import_tensorflow()
        from tfviz.cli.plan import plan_for
        from tfviz.cli.results import Results, closing_lines

        progress.show(0, "loading the model")
        plan = plan_for(args, progress.say)
        results = Results(args.output, plan, scale=args.scale, underlay=args.underlay, is_raw=args.raw)
        stop: KeyboardInterrupt | None = None
        try:
            _explain_all(jobs, plan, results, args.batch_size, progress)
        except KeyboardInterrupt as error:
            stop = error
        finally:  # The page shows the finished maps, even if an exception ended the run.
            page, stop = _page(results, stop)
    print_line("\n".join(closing_lines(results, page, len(jobs), stop is not None)))
    if stop is not None:
        return exit_code(stop)
    return SOME_FAILED if results.failures else EXPLAINED


def _page(results: Results, stop: KeyboardInterrupt | None) -> tuple[Path | None, KeyboardInterrupt | None]:
    """Write the page. Return its path and the interrupt, which may arrive during writing."""
    from tfviz.cli.results import write_page

    try:
        return write_page(results), stop
    except KeyboardInterrupt as error:
        return write_page(results), error


def _explain_all(jobs: Sequence[Job], plan: Plan, results: Results, batch_size: int, progress: Progress) -> None:
    from tfviz.images.batches import read_batches
    from tfviz.render.pictures import MAX_DRAWN_SIDE_PX

    def fail(number: int, error: ImageError) -> None:
        progress.say(f"Skipped: {results.fail(jobs[number], error)}")

    progress.show(0, "reading")
    paths = [job.path for job in jobs]
    for batch in read_batches(paths, plan.preprocessing, batch_size, fail, max_side_px=MAX_DRAWN_SIDE_PX):
        try:
            _explain(batch, jobs, plan, results, batch_size, progress, fail)
        except ImageError as error:  # The model cannot take images of this size.
            for number in batch.numbers:
                fail(number, error)


def _explain(
    batch: ImageBatch,
    jobs: Sequence[Job],
    plan: Plan,
    results: Results,
    batch_size: int,
    progress: Progress,
    fail: Callable[[int, ImageError], None],
) -> None:
    """Explain one batch, keeping the maps of at most two methods in memory."""
    done, length = results.count, len(batch.numbers)
    scores = plan.classifier.scores(batch.tensors)
    for i, (number, image) in enumerate(zip(batch.numbers, batch.images, strict=True)):
        results.add_image(jobs[number], image, None if scores is None else scores[i])
    steps = plan.steps(scores)
    found = _attributions(batch.tensors, steps, batch_size, done, progress)
    for step, (explainer, columns, attributions) in enumerate(found):
        for i, (number, image) in enumerate(zip(batch.numbers, batch.images, strict=True)):
            job = jobs[number]
            progress.show(done + (length * step + i) / len(steps), f"{explainer.key}, {job.name}")
            targets = [None if classes is None else int(classes[i]) for classes in columns]
            try:
                results.add_maps(job, image, explainer, targets, [maps[i] for maps in attributions])
            except ImageError as error:  # The map contains NaN.
                fail(number, error)


def _attributions(
    tensors: np.ndarray, steps: Sequence[Step], batch_size: int, done: int, progress: Progress
) -> Iterator[tuple[Explainer, Sequence[np.ndarray | None], list[np.ndarray]]]:
    """Yield each method with its target columns and its maps, one per target.

    A method compiles on its first call, which takes about as long as preparing and running the
    compiled function. Therefore, TensorFlow runs one method in another thread while the next one
    compiles.
    """
    with Background(batch_size) as background:
        waiting: tuple[int, list[RunningCall]] | None = None
        for number, step in enumerate([*steps, None]):
            started = None
            if step is not None:
                explainer, columns = step
                progress.show(done + len(tensors) * number / len(steps), f"{explainer.key} …")
                calls = [explainer.prepare(tensors, classes) for classes in columns]
                started = number, [background.start(call) for call in calls]
            if waiting is not None:
                yield *steps[waiting[0]], _results_of(waiting[1], steps, waiting[0], done, len(tensors), progress)
            waiting = started


def _results_of(
    running: Sequence[RunningCall], steps: Sequence[Step], number: int, done: int, length: int, progress: Progress
) -> list[np.ndarray]:
    """Wait for the maps of one method, and show how many rows it has run."""
    import numpy as np

    total = sum(one.call.rows for one in running)

    def show() -> None:
        if total:
            rows = sum(one.rows for one in running)
            at = done + length * (number + rows / total) / len(steps)
            progress.show(at, f"{steps[number][0].key}, {rows} of {total} perturbed copies")

    return [np.asarray(one.result(show)) for one in running]
