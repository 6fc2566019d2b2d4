"""`tfviz job`: explain any number of images in a resumable job that several machines can share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfviz.cli.options import add_layer, add_network, add_targets, count, listed, new_parser
from tfviz.cli.terminal import Progress, import_tensorflow, print_line
from tfviz.errors import JobError, OptionError, near_matches

if TYPE_CHECKING:
    from tfviz.jobs.inputs import Input
    from tfviz.jobs.plan import JobPlan
    from tfviz.jobs.report import Status
    from tfviz.jobs.storage import Storage

DONE, SOME_FAILED = 0, 1

_ABOUT = """\
Explain any number of images, and write tables with one row per image, method and class. A row
contains the top classes and the map at its own resolution.

  OUTPUT/shards/part-000123.parquet   the results of one shard of images
  OUTPUT/report.json                  the progress, and the first errors
  OUTPUT/_SUCCESS                     appears when all shards are done

To resume a job that was stopped or killed, run the same command again. Finished shards are not
read again. Several commands can work on the same OUTPUT at once: assign each a part of the shards
with --shards, or start workers on several machines that share a file system.

  tfviz job photos --model resnet50 --output results
  tfviz job list.csv --model resnet50 --output results --shards 2/8     one of eight machines
  tfviz job --output results                                            resume
  tfviz job status results
"""
_INPUTS = (
    'image files, folders, globs ("photos/**/*.jpg"), path lists (.txt, .csv, .parquet), TFRecord files, WebDataset archives '
    "(.tar), or URLs such as s3://bucket/photos; default: the images of the job in OUTPUT"
)
_EXIT_CODES = """\
exit code: 0 all shards of this command are done
           1 some images could not be explained; report.json lists them and the reasons
           2 a usage error, a missing path, another job in OUTPUT, or an unsuitable model
           130, 143, 129 stopped by Ctrl-C, SIGTERM or SIGHUP; run the command again to resume
"""
# The options that a worker needs to load the model and build the explainers.
_RUN = (
    "model",
    "weights",
    "preprocess",
    "labels",
    "image_size",
    "method",
    "layer",
    "target",
    "batch_size",
    "overlays",
    "backgrounds",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(subparsers.add_parser, "job", help="explain millions of images", description=_ABOUT, epilog=_EXIT_CODES)
    parser.set_defaults(module="tfviz.cli.job")
    parser.add_argument("paths", nargs="*", metavar="PATH", help=_INPUTS)
    add_network(parser)
    parser.add_argument(
        "--method",
        type=listed,
        metavar="A,B,...",
        default=["grad_cam"],
        help="methods (see `tfviz methods`); default: grad_cam",
    )
    add_layer(parser)
    add_targets(parser)
    parser.add_argument("--output", metavar="DIR", help="job folder, or a URL such as s3://bucket/job; no default")
    parser.add_argument("--batch-size", type=count, default=32, metavar="N", help="images per batch; default: %(default)s")
    parser.add_argument("--overlays", action="store_true", help="also store each map drawn over its image, as a JPEG")
    parser.add_argument(
        "--engine", default="local", metavar="E", help="engine that runs the workers: local (processes) or ray; default: local"
    )
    parser.add_argument(
        "--workers", type=count, default=1, metavar="N", help="number of worker processes or Ray actors; default: %(default)s"
    )
    parser.add_argument(
        "--shards",
        type=_share,
        default=(1, 1),
        metavar="I/N",
        help="process every Nth shard, starting with the Ith; default: 1/1",
    )
    parser.add_argument("--shard-size", type=count, default=1000, metavar="N", help="images per shard; default: %(default)s")
    parser.add_argument("--retry-failed", action="store_true", help="retry images that failed in finished shards")
    parser.add_argument("--extend", action="store_true", help="add images to the job in OUTPUT")
    return parser


def run(args: argparse.Namespace) -> int:
    """Work on the job and return the exit code."""
    from tfviz.jobs.schema import arrow

    arrow()
    if args.paths[:1] == ["status"] and len(args.paths) == 2:
        return _print_status(args.paths[1])
    if not args.output:
        raise OptionError("No output folder was given. Pass --output DIR.")
    engine = _engine(args.engine)
    from tfviz.jobs.engines.crew import Crew
    from tfviz.jobs.report import status_of, write_report
    from tfviz.jobs.storage import Storage

    storage = Storage(args.output)
    with Progress(1) as progress:
        progress.show(0, "listing images")
        plan = _plan(args, storage, progress.say)
        todo = _todo(args, storage, plan)
        progress.total = sum(_sizes(plan, todo))
        done = 0
        progress.show(0, "loading the model")
        if todo:
            for images in engine(Crew(storage.root, args.workers, args.retry_failed), todo):
                done += images
                progress.show(done, "images")
        progress.show(done, "writing the report")
        status = status_of(storage, plan)
        write_report(storage, status)
    print_line(_summary(status, storage.root))
    return SOME_FAILED if status.failed else DONE


def _plan(args: argparse.Namespace, storage: Storage, say: Callable[[str], None]) -> JobPlan:
    """Check the plan in OUTPUT against the arguments, or write a new plan. Return the plan."""
    from tfviz.jobs.inputs import find_inputs
    from tfviz.jobs.plan import JobPlan, read_plan, require_same

    known = read_plan(storage)
    if not args.paths:
        if known is None:
            raise JobError(f"{args.output} contains no job to resume. Pass the images: tfviz job PATH --output {args.output}.")
        return known
    inputs = find_inputs(args.paths)
    # Workers may run in other folders, so the paths must be absolute.
    paths = {name: getattr(args, name) and str(getattr(args, name).absolute()) for name in ("labels", "backgrounds")}
    run = {name: getattr(args, name) for name in _RUN} | {"model": _absolute(args.model), **paths}
    new = JobPlan(run, _fingerprint(args, run, say), args.shard_size)
    if known is None:
        _require_no_results(storage, args.output)
        plan = new.with_inputs(storage, inputs)
        plan.write(storage)
        return plan
    require_same(known.fingerprint, new.fingerprint, args.output)
    return _with_new_inputs(args, storage, known, inputs)


def _require_no_results(storage: Storage, output: str) -> None:
    """Raise JobError if a folder without job.json contains results, perhaps from another job."""
    from tfviz.jobs.plan import done_shards

    if done_shards(storage):
        raise JobError(f"{output} contains results but no job.json. Choose another --output, or remove the folder.")


def _with_new_inputs(args: argparse.Namespace, storage: Storage, known: JobPlan, inputs: Sequence[Input]) -> JobPlan:
    from tfviz.jobs.plan import SUCCESS_FILE, known_paths

    old = known_paths(storage, known)
    added = [one for one in inputs if one.path not in old]
    missing = len(old) - (len(inputs) - len(added))
    if args.extend:
        if not added:
            return known
        plan = known.with_inputs(storage, added)
        storage.remove(SUCCESS_FILE)
        plan.write(storage)
        return plan
    if added or missing:
        raise JobError(
            f"{args.output} contains a job with different images: {len(added)} of the given images are new, and {missing} of "
            "the job's images were not given. Pass --extend to add the new images, or choose another --output."
        )
    return known


def _fingerprint(args: argparse.Namespace, run: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Check the options by building the explainers. Return all settings that affect the results."""
    import_tensorflow()
    from dataclasses import asdict

    import tfviz
    from tfviz.cli.plan import plan_for
    from tfviz.jobs.model_digest import digest_of

    plan = plan_for(argparse.Namespace(**run), say)
    return {
        "tfviz": tfviz.__version__,
        "model": digest_of(plan.explainers[0].model),
        "methods": [one.key for one in plan.explainers],
        "layers": [getattr(one, "layer_path", None) for one in plan.explainers],
        "targets": args.target,
        "labels": list(plan.labels.names),
        "preprocessing": asdict(plan.preprocessing),
        "overlays": args.overlays,
        "backgrounds": run["backgrounds"],
        "batch size": args.batch_size,
        "shard size": args.shard_size,
    }


def _todo(args: argparse.Namespace, storage: Storage, plan: JobPlan) -> list[int]:
    """Return the shard numbers that this command has to process.

    These are the unfinished shards in the command's share and, with --retry-failed, also the shards
    in its share that contain failed images.
    """
    from tfviz.jobs.plan import done_shards
    from tfviz.jobs.report import failed_shards

    first, step = args.shards
    mine = range(first - 1, len(plan.shards()), step)
    done = done_shards(storage)
    again = set(failed_shards(storage, plan)) if args.retry_failed else set()
    return [number for number in mine if number not in done or number in again]


def _sizes(plan: JobPlan, numbers: Sequence[int]) -> list[int]:
    shards = plan.shards()
    return [min(plan.shard_size, part.count - group * plan.shard_size) for part, group in (shards[n] for n in numbers)]


def _engine(name: str) -> Any:
    from tfviz.jobs.engines import ENGINES

    if name not in ENGINES:
        raise OptionError(f"Unknown engine {name!r}. {near_matches(name, ENGINES)}")
    return ENGINES[name]


def _absolute(model: str) -> str:
    """Return a model file's absolute path, which all workers can open, or a network's name."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _print_status(folder: str) -> int:
    from tfviz.jobs.plan import read_plan
    from tfviz.jobs.report import status_of
    from tfviz.jobs.storage import Storage

    storage = Storage(folder)
    plan = read_plan(storage)
    if plan is None:
        raise JobError(f"{folder} contains no job. Start one with `tfviz job PATH --output {folder}`.")
    print_line(_summary(status_of(storage, plan), storage.root))
    return DONE


def _summary(status: Status, root: str) -> str:
    lines = [f"{status.shards_done} of {status.shards} shards done, {status.rows} rows: {root}"]
    if status.attempts and not status.is_done:
        lines.append(f"{status.attempts} attempts at unfinished shards are still running or were stopped")
    if status.failed:
        lines.append(f"{status.failed} of {status.images} images could not be explained:")
        lines += [f"  {path}: {error}" for path, error in status.errors[:5]]
    return "\n".join(lines)


def _share(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d+)/(\d+)", text)
    if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise argparse.ArgumentTypeError(
            f"Expected I/N with 1 ≤ I ≤ N, such as 2/8 for the second of eight parts. Received: {text!r}."
        )
    return int(numbers[1]), int(numbers[2])
