"""`tfviz explain`: find the images, explain them batch by batch, and print a summary."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tfviz.cli.background import Background, Backlog, RunningCall
from tfviz.cli.options import add_layer, add_network, add_targets, count, listed, new_parser
from tfviz.cli.signals import exit_code
from tfviz.cli.terminal import Progress, import_tensorflow, print_line
from tfviz.errors import ImageError, OutputError
from tfviz.method_looks import MOST_ROWS_OF_ALL
from tfviz.tables import TABLES

if TYPE_CHECKING:
    import numpy as np

    from tfviz.class_scores import ClassScores
    from tfviz.cli.jobs import Job
    from tfviz.cli.plan import Plan
    from tfviz.cli.result_pages import ResultPages
    from tfviz.cli.results import Results
    from tfviz.images.batches import ImageBatch
    from tfviz.methods.explainer import Explainer

    Step: TypeAlias = tuple[Explainer, Sequence[np.ndarray | None]]

SCALES = ("map", "image")
EXPLAINED, SOME_FAILED = 0, 1
DEFAULT_OUTPUT = "tfviz-output"
_MOST_WAITING = 2  # the maximum number of queued drawing and writing tasks
_DRAWERS = min(8, os.cpu_count() or 1)

_ABOUT = """\
Draw colored maps of what the network looks at in each image, and write OUTPUT/index.html, a page
that shows them next to the predicted classes and opens without a server:

  OUTPUT/index.html
  OUTPUT/predictions.csv              one row per image, method and class, for programs
  OUTPUT/IMAGE/image.png              the part of the image that the network sees, with at most
                                      1600 pixels per side
  OUTPUT/IMAGE/METHOD.png             the map for the top class, or for a method without a target
  OUTPUT/IMAGE/METHOD-281-tabby.png   the map for a class from --target, by number and name
  OUTPUT/IMAGE/image-scale/METHOD…    if there are several classes: the same maps, with all classes
                                      of the image on one scale. With --scale image, the files
                                      above use that scale, and map-scale/ contains the maps with
                                      separate scales
  OUTPUT/IMAGE/METHOD.npy             with --raw: the map itself, float32, neither resized nor
                                      scaled: (h, w) at the layer's resolution, or
                                      (height, width, channels) of the network's input

If the network's input is a signal (T, C), or a volume or video (D, H, W, C), pass .npy files
instead, one array per file. They are passed to the network unchanged.

IMAGE is the file's path relative to the given folder, without the extension. The extension is kept
if two images would otherwise have the same name.

To resume a run that was stopped or killed, run the same command again. Finished images are not
explained again, and new images are added to the page and the table. To use other options, choose
another --output, or pass --overwrite.
"""
_EXIT_CODES = """\
exit code: 0 all images explained
           1 some images could not be read or explained; the last lines list them and the reasons
           2 a usage error, a missing path, or a model that cannot be explained
           130, 143, 129 stopped by Ctrl-C, SIGTERM or SIGHUP; the finished maps are kept and
           appear in index.html
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(subparsers.add_parser, "explain", help="explain images", description=_ABOUT, epilog=_EXIT_CODES)
    parser.set_defaults(module="tfviz.cli.explain")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image files, or folders to search for them")
    add_network(parser)
    parser.add_argument(
        "--method",
        type=listed,
        metavar="A,B,...",
        help='methods (see `tfviz methods`); "all" selects the methods that support the model and run it at most '
        f"{MOST_ROWS_OF_ALL} times per image; add others after a comma: all,rise; default: grad_cam,guided_backprop",
    )
    add_layer(parser)
    add_targets(parser)
    parser.add_argument(
        "--output", type=Path, default=Path(DEFAULT_OUTPUT), metavar="DIR", help="folder to write to; default: %(default)s"
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        default=16,
        metavar="N",
        help="images per batch, or perturbed copies for methods that perturb images; default: %(default)s",
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="map",
        help="map: scale each map separately; image: scale all classes of an image together, for each method; default: "
        "%(default)s",
    )
    parser.add_argument(
        "--underlay",
        choices=("gray", "color"),
        default="gray",
        help="draw the image under the map in gray (so that its colors don't mix with the map's) or in color; "
        "default: %(default)s",
    )
    parser.add_argument("--raw", action="store_true", help="also write the maps as arrays (.npy)")
    parser.add_argument(
        "--table", choices=tuple(TABLES), default="csv", help="format of the prediction table; default: %(default)s"
    )
    parser.add_argument(
        "--no-pictures", dest="pictures", action="store_false", help="write only the table (and, with --raw, the arrays)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="discard an earlier run in the output folder that used different options"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Explain the images and return the exit code."""
    from tfviz.cli.jobs import find_jobs, require_writable

    jobs = find_jobs(args.paths, args.output)
    require_writable(args.output)
    if args.table == "parquet":
        from tfviz.jobs.schema import arrow

        arrow()
    with Progress(len(jobs)) as progress:
        progress.show(0, "starting TensorFlow")
        # Starting TensorFlow takes seconds, so all checks that do not need it come first.
        import_tensorflow()
        from tfviz.cli.explain_arguments import arguments_of
        from tfviz.cli.plan import plan_for
        from tfviz.cli.result_pages import ResultPages, closing_lines
        from tfviz.cli.results import Results
        from tfviz.cli.run_store import RunStore

        progress.show(0, "loading the model")
        plan = plan_for(args, progress.say, allows_arrays=True)
        store = RunStore(args.output, "explanation", arguments_of(args, plan), overwrite=args.overwrite)
        try:
            results = Results(
                args.output,
                plan,
                store,
                jobs,
                scale=args.scale,
                underlay=args.underlay,
                is_raw=args.raw,
                has_pictures=args.pictures,
            )
            pages = ResultPages(results, args.table)
            page, stop = _explained(_ExplainRun(plan, results, pages, args.batch_size, progress))
        finally:
            store.close()
    print_line("\n".join(closing_lines(results, page, stop is not None)))
    if stop is not None:
        return exit_code(stop)
    return SOME_FAILED if results.failures else EXPLAINED


def _explained(run: _ExplainRun) -> tuple[Path | None, KeyboardInterrupt | None]:
    """Explain the images and write the page. Return the page's path and any KeyboardInterrupt."""
    stop: KeyboardInterrupt | None = None
    try:
        run.explain_all()
    except KeyboardInterrupt as error:
        stop = error
    except Exception:
        with suppress(OutputError):  # the disk is full, or the folder is gone
            run.write_pages()
        raise
    try:
        return run.write_pages(), stop
    except KeyboardInterrupt as error:
        return run.write_pages(), error


@dataclass
class _ExplainRun:
    """One run of `tfviz explain`.

    While the model runs, other threads read the next images and draw the previous maps.
    """

    plan: Plan
    results: Results
    pages: ResultPages
    batch_size: int
    progress: Progress

    def explain_all(self) -> None:
        """Explain all images that earlier runs have not finished."""
        from tfviz.cli.array_files import Arrays
        from tfviz.images.batches import read_batches
        from tfviz.images.files import read_image
        from tfviz.render.pictures import MAX_DRAWN_SIDE_PX

        inputs = self.plan.inputs
        are_arrays = isinstance(inputs, Arrays)
        pending = self.results.pending
        self._done = len(self.results.jobs) - len(pending)
        self.progress.show(self._done, "reading")
        with ThreadPoolExecutor(_DRAWERS) as self._drawers, Backlog(_MOST_WAITING) as self._backlog:
            for batch in read_batches(
                [job.path for job in pending],
                inputs,
                self.batch_size,
                lambda number, error: self._fail(pending[number], error),
                max_side_px=MAX_DRAWN_SIDE_PX if self.results.has_pictures and not are_arrays else None,
                read=inputs.read if isinstance(inputs, Arrays) else read_image,
            ):
                jobs = [pending[number] for number in batch.numbers]
                try:
                    self._explain(batch, jobs)
                except ImageError as error:  # The model does not accept this image size.
                    for job in jobs:  # reported after the results that are still waiting
                        self._backlog.add(partial(self._fail, job, error))
                self._backlog.add(partial(self._finish, jobs[-1]))
                self._done += len(jobs)
        self.results.finish()

    def write_pages(self) -> Path | None:
        """Write the page and the table for the explained images, and return the page's path."""
        if not self.results.store.is_present():
            return None
        self.results.keep_unfinished()
        return self.pages.write()

    def _fail(self, job: Job, error: ImageError) -> None:
        self.progress.say(f"Skipped: {self.results.fail(job, error)}")

    def _finish(self, last: Job) -> None:
        self.results.finish(last)
        self.pages.refresh()

    def _explain(self, batch: ImageBatch, jobs: Sequence[Job]) -> None:
        """Explain one batch, keeping the maps of only a few methods in memory at a time."""
        self.progress.show(self._done, f"{self.plan.explainers[0].key} …")
        scores, first = self.plan.scores_and_first_maps(batch.tensors)
        self._backlog.add(partial(self._add_images, jobs, batch.images, scores))
        for explainer, columns, attributions in self._attributions(batch.tensors, self.plan.steps(scores), first):
            self._backlog.add(partial(self._add_maps, jobs, batch.images, explainer, columns, attributions))

    def _add_images(self, jobs: Sequence[Job], images: Sequence[np.ndarray], scores: ClassScores | None) -> None:
        self.results.store.require_present()

        def add(i: int) -> None:
            self.results.add_image(jobs[i], images[i], None if scores is None else scores[i])

        list(self._drawers.map(add, range(len(jobs))))

    def _add_maps(
        self,
        jobs: Sequence[Job],
        images: Sequence[np.ndarray],
        explainer: Explainer,
        columns: Sequence[np.ndarray | None],
        attributions: Sequence[np.ndarray],
    ) -> None:
        def add(i: int) -> None:
            targets = [None if classes is None else int(classes[i]) for classes in columns]
            try:
                self.results.add_maps(jobs[i], images[i], explainer, targets, [maps[i] for maps in attributions])
            except ImageError as error:  # The map contains NaN.
                self._fail(jobs[i], error)

        list(self._drawers.map(add, range(len(jobs))))

    def _attributions(
        self, tensors: np.ndarray, steps: Sequence[Step], first: np.ndarray | None
    ) -> Iterator[tuple[Explainer, Sequence[np.ndarray | None], list[np.ndarray]]]:
        """Yield each method with its targets and one array of maps per target.

        A target is an array with one class per image, or None for a method without a target.
        Compiling a method on its first call takes about as long as running it. Therefore, one
        method runs in another thread while the next one compiles.

        Args:
            tensors: the batch.
            steps: the methods with their targets.
            first: the first method's maps for its first target, or None to compute them.
        """
        with Background(self.batch_size) as background:
            waiting: tuple[int, list[RunningCall]] | None = None
            for number, step in enumerate([*steps, None]):
                started = None
                if step is not None:
                    explainer, columns = step
                    self.progress.show(self._done + len(tensors) * number / len(steps), f"{explainer.key} …")
                    left = columns[1:] if number == 0 and first is not None else columns
                    calls = [explainer.prepare(tensors, classes) for classes in left]
                    started = number, [background.start(call) for call in calls]
                if waiting is not None:
                    at, running = waiting
                    known = [first] if at == 0 and first is not None else []
                    yield *steps[at], known + self._results_of(running, steps, at, len(tensors))
                waiting = started

    def _results_of(self, running: Sequence[RunningCall], steps: Sequence[Step], number: int, length: int) -> list[np.ndarray]:
        """Wait for one method's maps, and show how many perturbed copies have been processed."""
        import numpy as np

        total = sum(one.call.rows for one in running)

        def show() -> None:
            if total:
                rows = sum(one.rows for one in running)
                at = self._done + length * (number + rows / total) / len(steps)
                self.progress.show(at, f"{steps[number][0].key}, {rows} of {total} perturbed copies")

        return [np.asarray(one.result(show)) for one in running]
