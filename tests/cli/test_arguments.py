"""Help, version and usage errors, which appear without importing TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import tfviz
from tfviz.cli.main import main
from tfviz.cli.terminal import quiet_stderr

OPTIONS = ("model", "weights", "preprocess", "method", "layer", "target", "labels", "output", "batch-size", "image-size", "raw")


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--version"], ["explain", "--help"], ["layers", "-h"], ["explain"]])
def test_help_and_usage_errors_do_not_import_tensorflow(argv):
    code = (
        "import sys; from tfviz.cli.main import main; main(sys.argv[1:]); "
        "sys.exit(bool({'tensorflow', 'keras', 'matplotlib', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, *argv], check=True, capture_output=True)


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tfviz", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"tfviz {tfviz.__version__}\n"


def test_explain_help_lists_every_option(capsys):
    assert main(["explain", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"--{option} " in text for option in OPTIONS)
    assert "exit code: 0 all images explained" in text and "default: tfviz-output" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "required: COMMAND"),
        ("explian photos", "invalid choice: 'explian'"),
        ("explain", "required: PATH"),
        ("explain photos --meth all", "Unknown option '--meth'. Did you mean '--method'"),
        ("explain photos --methods=all", "Unknown option '--methods'. Did you mean '--method'"),
        ("explain photos -method all", "Unknown option '-method'. Did you mean '--method'"),
        ("explain photos --qqqq", "Unknown option '--qqqq'. Available: '--help', "),
        ("explain --metod all", "See `tfviz explain --help`."),
        ("film runs --ouput a.mp4", "Unknown option '--ouput'. Did you mean '--output'?"),
        ("--versoin", "Unknown option '--versoin'. Did you mean '--version'?"),
        ("layers photos", "Unknown arguments: photos."),
        ("explain photos --batch-size 0", "--batch-size: Expected a positive integer. Received: '0'."),
        ("explain photos --batch-size many", "--batch-size: Expected a positive integer"),
        (
            "explain photos --image-size 224",
            "--image-size: Expected HEIGHTxWIDTH in pixels, such as 224x224. Received: '224'.",
        ),
        ("explain photos --image-size 0x3", "--image-size: Expected HEIGHTxWIDTH"),
        ("explain photos --method ,", "--method: Expected comma-separated names. Received: ','."),
        ("explain photos --target", "--target: expected one argument"),
    ],
)
def test_invalid_arguments_are_reported(capsys, words, message):
    assert main(words.split()) == 2
    output = capsys.readouterr()
    assert output.out == "" and message in output.err.splitlines()[-1]


def test_library_output_on_stderr_is_suppressed(capfd):
    with quiet_stderr():
        os.write(2, b"I0000 oneDNN custom operations are on.\n")
    os.write(2, b"mine\n")
    assert capfd.readouterr().err == "mine\n"


def test_suppressed_output_is_shown_after_an_exception(capfd):
    with pytest.raises(ImportError), quiet_stderr():
        os.write(2, b"libcudart is broken\n")
        raise ImportError
    assert capfd.readouterr().err == "libcudart is broken\n"
