"""`tfviz evaluate`: score each method's maps on images, and write a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from tfviz.cli.options import add_layer, add_network, count, listed, new_parser, whole_number
from tfviz.cli.signals import exit_code
from tfviz.cli.terminal import Progress, import_tensorflow, print_line

EVALUATED, SOME_FAILED = 0, 1
DEFAULT_OUTPUT = "tfviz-report"

_ABOUT = """\
Measure how well each method's maps agree with the model and, with --boxes, with annotated objects,
and write a report:

  OUTPUT/report.html   the scores and their intervals next to the controls, the curves, the sanity
                       checks, and every map with its scores; opens without a server
  OUTPUT/report.md     the same tables as Markdown
  OUTPUT/report.csv    the same results as CSV; the sanity checks are in sanity.csv
  OUTPUT/scores.csv    one row per image, class, method and measure
  OUTPUT/maps/IMAGE/   the image with its annotated regions, and the scored maps

To resume a run that was stopped, run the same command again.
"""
_EXIT_CODES = """\
metrics: "default" selects single_deletion, deletion_insertion, road, sanity and, with --boxes,
         pointing_game and mass_in_region; "all" also selects mu_fidelity, max_sensitivity and
         average_drop

boxes:   a JSON file of boxes, a COCO annotation file, a Pascal VOC .xml file or a folder of such
         files, or a folder of masks with one subfolder per class

exit code: 0 all images evaluated
           1 some images could not be read or evaluated; the last lines list them with the reason
           2 a usage error, a missing path, or a model that cannot be evaluated
           130, 143, 129 stopped by Ctrl-C, SIGTERM or SIGHUP; the report covers the finished images
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Register the command and return its parser."""
    parser = new_parser(
        subparsers.add_parser, "evaluate", help="measure how faithful the maps are", description=_ABOUT, epilog=_EXIT_CODES
    )
    parser.set_defaults(module="tfviz.cli.evaluate")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image files, or folders to search for them")
    add_network(parser)
    parser.add_argument(
        "--methods",
        dest="method",
        type=listed,
        default=["all"],
        metavar="A,B,...",
        help='methods (see `tfviz methods`), or "all" for every method that supports the model; default: all',
    )
    add_layer(parser)
    parser.add_argument("--boxes", type=Path, metavar="F", help="annotated objects in the images (see below); default: none")
    parser.add_argument(
        "--metrics", type=listed, default=["default"], metavar="A,B,...", help="metrics (see below); default: default"
    )
    parser.add_argument(
        "--targets",
        dest="target",
        type=listed,
        default=["top"],
        metavar="T",
        help="class to evaluate, by number or name; top: each image's top class; default: top. Metrics that need boxes "
        "evaluate every annotated class",
    )
    parser.add_argument(
        "--output", type=Path, default=Path(DEFAULT_OUTPUT), metavar="DIR", help="folder to write to; default: %(default)s"
    )
    parser.add_argument("--batch-size", type=count, default=16, metavar="N", help="images per batch; default: %(default)s")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="random seed; default: %(default)s")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help=("discard an earlier evaluation in the output folder that used different arguments"),
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate the images and return the exit code."""
    from tfviz.cli.jobs import find_jobs, require_writable

    jobs = find_jobs(args.paths, args.output)
    require_writable(args.output)
    with Progress(len(jobs)) as progress:
        progress.show(0, "starting TensorFlow")
        import_tensorflow()
        from tfviz.cli.evaluation_report import closing_lines, write_report
        from tfviz.cli.evaluation_run import EvaluationRun

        progress.show(0, "loading the model")
        evaluation = EvaluationRun(args, jobs, progress)
        stop: KeyboardInterrupt | None = None
        try:
            evaluation.score_all()
        except KeyboardInterrupt as error:
            stop = error
        finally:  # The report covers the finished images, even if an exception ended the run.
            page = write_report(evaluation)
            evaluation.store.close()
    print_line("\n".join(closing_lines(evaluation, page, stop is not None)))
    if stop is not None:
        return exit_code(stop)
    return SOME_FAILED if evaluation.failures else EVALUATED
