"""`tfviz explain`: find the pictures, plan, explain them batch by batch, and say how it went."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfviz.cli.jobs import Job, find_jobs, require_writable
from tfviz.cli.progress import Progress, tell
from tfviz.cli.quiet import import_tensorflow
from tfviz.errors import ImageError

if TYPE_CHECKING:
    from tfviz.cli.batches import Picture
    from tfviz.cli.plan import Plan
    from tfviz.cli.results import Results

EXPLAINED, SOME_FAILED, STOPPED = 0, 1, 130  # 130 is 128 + SIGINT, as shells have it
_Fail = Callable[[Job, ImageError], None]


def run(args: argparse.Namespace) -> int:
    """Explains the pictures, and returns the exit code."""
    jobs = find_jobs(args.paths, args.output)
    require_writable(args.output)
    with Progress(len(jobs)) as progress:
        progress.show(0, "starting TensorFlow")
        import_tensorflow()  # it takes seconds: what can be wrong without it has been checked by now
        from tfviz.cli.plan import plan_for
        from tfviz.cli.report import closing_lines, write_page
        from tfviz.cli.results import Results

        progress.show(0, "loading the model")
        plan = plan_for(args, progress.say)
        results = Results(args.output, plan.labels, is_top_only=plan.is_top_only, is_raw=args.raw)
        is_stopped = False
        try:
            _explain_all(jobs, plan, results, args.batch_size, progress)
        except KeyboardInterrupt:
            is_stopped = True
        finally:  # whatever stopped the run, what was made can be looked at
            page = write_page(plan, results)
    tell("\n".join(closing_lines(plan, results, page, len(jobs), is_stopped)))
    return STOPPED if is_stopped else SOME_FAILED if results.failures else EXPLAINED


def _explain_all(jobs: Sequence[Job], plan: Plan, results: Results, batch_size: int, progress: Progress) -> None:
    from tfviz.cli.batches import read_batches

    def fail(job: Job, error: ImageError) -> None:
        progress.say(f"Skipped: {results.fail(job, error)}")

    progress.show(0, "reading")
    for batch in read_batches(jobs, plan.preprocessing, batch_size, fail):
        try:
            _explain(batch, plan, results, progress, fail)
        except ImageError as error:  # the model cannot take pictures of this size
            for picture in batch:
                fail(picture.job, error)


def _explain(batch: Sequence[Picture], plan: Plan, results: Results, progress: Progress, fail: _Fail) -> None:
    """Explains one batch. Each map is written before the next method runs, so that little is held in memory."""
    import numpy as np

    done = results.count
    images = np.stack([picture.tensor for picture in batch])
    scores = plan.predict(images)
    for number, picture in enumerate(batch):
        results.add_picture(picture, None if scores is None else scores[number])
    steps = plan.steps(scores)
    for step, (explainer, classes) in enumerate(steps):
        progress.show(done + len(batch) * step / len(steps), f"{explainer.key} …")  # the first call compiles
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            attributions = np.asarray(explainer(images, classes))
        for warning in caught:
            if warning.category is UserWarning:
                progress.say(f"Note: {warning.message}")
        for number, picture in enumerate(batch):
            progress.show(done + (len(batch) * step + number) / len(steps), f"{explainer.key}, {picture.job.name}")
            target = None if classes is None else int(classes[number])
            try:
                results.add_map(picture, explainer, target, attributions[number])
            except ImageError as error:  # NaN in the map
                fail(picture.job, error)
