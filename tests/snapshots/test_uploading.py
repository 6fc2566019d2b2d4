"""Sending to a viewer that is available, unavailable, back, slow, odd or rejecting, and to a real
one.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fake_runs import FakeTrainer
from support.fake_viewer import FakeViewer, eventually

from tfviz.errors import OptionError
from tfviz.runs.run_reader import read_records
from tfviz.snapshots.faults import SnapshotWarning
from tfviz.snapshots.sinks.viewer import ViewerSink
from tfviz.snapshots.upload import upload_thread
from tfviz.snapshots.upload.viewer_client import ViewerError, ViewerRejectionError, ViewerUnavailableError

ID = "0123456789abcdef" * 2
PICTURES = 4  # per snapshot: two methods, two images


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_thread, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(upload_thread, "LAST_RETRY_S", 0.05)


@pytest.fixture
def viewer() -> Iterator[FakeViewer]:
    viewer = FakeViewer()
    yield viewer
    viewer.fault = lambda method, path: None
    viewer.kill()


@pytest.fixture
def trainer(tmp_path: Path) -> FakeTrainer:
    return FakeTrainer(tmp_path / "run", ID)


class Training:
    """A trainer whose snapshots go to a sink, as with the callback. Collects the sink's errors."""

    def __init__(self, trainer: FakeTrainer, url: str, token: str | None = None, **options: Any) -> None:
        self.trainer, self.sink = trainer, ViewerSink(url, token, **options)
        self.raised: list[ViewerError] = []
        self._try(lambda: self.sink.open(trainer.run, trainer.folder))

    def snap(self, count: int = 1, **fields: Any) -> None:
        for _ in range(count):
            self.trainer.snap(**fields)
            self._try(lambda: self.sink.write(None))  # type: ignore[arg-type]

    def close(self) -> None:
        self._try(self.sink.close)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ViewerError as error:
            self.raised.append(error)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_viewer_receives_everything_in_order(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    assert training.raised == [] and viewer.numbers == [0, 1, 2]
    assert viewer.records == read_records(trainer.folder)
    assert list(viewer.runs.values()) == [(trainer.folder / "run.json").read_bytes()]
    assert set(viewer.files) == {f"images/{i}.png" for i in range(2)} | {
        f"pictures/{n}/{m}/{i}.png" for n in range(3) for m in ("visual_backprop", "grad_cam") for i in range(2)
    }
    there = trainer.folder / "pictures" / "00000002" / "grad_cam" / "1.png"
    assert viewer.files["pictures/2/grad_cam/1.png"] == there.read_bytes()
    of_two = [path.split("/", 4)[4] for method, path in viewer.requests if "/2" in path.split("/", 4)[-1][:12]]
    assert of_two.index("snapshots/2") == PICTURES  # the record follows its pictures
    assert viewer.connections == 1  # it is kept open


def test_what_the_viewer_has_is_not_sent_again(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    for _ in range(2):  # a training, and its continuation in the same folder
        training = Training(trainer, viewer.url)
        training.snap(2)
        training.close()
    assert viewer.numbers == [0, 1, 2, 3] and training.raised == []
    sent = [path for method, path in viewer.requests if method == "PUT" and path.endswith(".png")]
    assert len(sent) == len(set(sent)) == 2 + 4 * PICTURES


def test_earlier_snapshots_in_the_folder_are_sent_too(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    trainer.snap(5)
    training = Training(trainer, viewer.url)
    training.close()
    assert viewer.numbers == [0, 1, 2, 3, 4]


def test_a_viewer_that_starts_late_receives_everything(trainer: FakeTrainer, capsys: Any) -> None:
    port = free_port()
    training = Training(trainer, f"http://127.0.0.1:{port}/")
    training.snap(4)
    (trouble,) = training.raised  # one warning, immediately
    assert isinstance(trouble, ViewerUnavailableError)
    assert re.search(
        rf"The viewer at http://127.0.0.1:{port} is not responding \(Connection refused\)\. The missing snapshots", str(trouble)
    )
    viewer = FakeViewer(port=port)
    assert eventually(lambda: viewer.numbers == [0, 1, 2, 3])
    training.close()
    viewer.kill()
    assert training.raised == [trouble]
    assert capsys.readouterr().err == (
        f"The viewer at http://127.0.0.1:{port} is back. It received 4 snapshots that it had missed.\n"
    )


def test_a_restarted_viewer_receives_what_it_missed(viewer: FakeViewer, trainer: FakeTrainer, capsys: Any) -> None:
    training = Training(trainer, viewer.url)
    for outage in (1, 2):
        training.snap(2)
        assert eventually(lambda: viewer.numbers == read_numbers(trainer))
        viewer.kill()
        training.snap(1)
        assert eventually(lambda: training.sink._upload.trouble is not None)  # type: ignore[union-attr]
        training.snap(3)
        assert len(training.raised) == outage  # however many snapshots were missed
        viewer.start()
        assert eventually(lambda: viewer.numbers == read_numbers(trainer))
    training.close()
    assert viewer.records == read_records(trainer.folder) and len(viewer.files) == 2 + 12 * PICTURES
    assert re.findall(r"is back\. It received (\d+ snapshots?)", capsys.readouterr().err) == ["4 snapshots"] * 2


def read_numbers(trainer: FakeTrainer) -> list[int]:
    return [record["number"] for record in read_records(trainer.folder)]


def test_waiting_for_a_viewer_draws_no_global_random_numbers(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    random.seed(3)
    undisturbed, tries = random.getstate(), 4
    viewer.fault = lambda method, path: (500, b"{}") if len(viewer.requests) < tries else None
    training = Training(trainer, viewer.url)
    training.snap(2)
    assert eventually(lambda: viewer.numbers == [0, 1]) and len(viewer.requests) > tries
    training.close()
    assert random.getstate() == undisturbed


def test_a_viewer_that_lost_its_runs_receives_them_again(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    training.snap(2)
    assert eventually(lambda: viewer.numbers == [0, 1])
    viewer.runs, viewer.files, viewer.records = {}, {}, []
    training.snap(1)
    training.close()
    assert viewer.numbers == [0, 1, 2] and len(viewer.files) == 2 + 3 * PICTURES and training.raised == []


def test_training_does_not_wait_for_an_unresponsive_viewer(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    is_slow, is_asked = threading.Event(), threading.Event()

    def wait(method: str, path: str) -> None:
        is_asked.set()
        is_slow.wait(30)

    viewer.fault = wait
    training = Training(trainer, viewer.url, drain_timeout_s=0.1)
    training.snap(50)  # would never end if one of them waited
    assert is_asked.wait(10) and viewer.numbers == [] and training.raised == []
    training.close()
    is_slow.set()
    (error,) = training.raised
    assert str(error) == (
        f"50 snapshots were not sent to the viewer at {viewer.url}. Nothing is lost: all snapshots are in {trainer.folder}. "
        f"The next training run with this folder sends the missing snapshots, and `tfviz watch {trainer.folder}` "
        "shows all of them."
    )


def test_a_viewer_that_takes_too_long_counts_as_unavailable(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    slow = threading.Event()
    viewer.fault = lambda method, path: slow.wait(30) and None
    training = Training(trainer, viewer.url, timeout_s=0.05)
    assert isinstance(training.raised[0], ViewerUnavailableError) and "is not responding (timed out)" in str(training.raised[0])
    slow.set()
    training.snap(2)
    training.close()
    assert viewer.numbers == [0, 1] and len(training.raised) == 1


def test_a_slow_viewer_receives_everything_before_the_end(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = lambda method, path: time.sleep(0.01)
    training = Training(trainer, viewer.url)
    training.snap(5)
    training.close()
    assert viewer.numbers == [0, 1, 2, 3, 4] and training.raised == []


def failing(times: int, answer: tuple[int, bytes], of: str = "") -> Callable[[str, str], tuple[int, bytes] | None]:
    """Return a fault that answers the first `times` requests whose path ends with `of`."""
    left = [times]

    def fault(method: str, path: str) -> tuple[int, bytes] | None:
        if not path.endswith(of) or left[0] == 0:
            return None
        left[0] -= 1
        return answer

    return fault


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (500, b"Internal Server Error"),
            "cannot accept snapshots now (500: Internal Server Error). The snapshots will be sent later",
        ),
        ((507, b'{"detail": "The disk\\n is full."}'), "cannot accept snapshots now (507: The disk is full)."),
        ((429, b'{"detail": "too many"}'), "cannot accept snapshots now (429: too many)"),
        ((200, b"<html>It works!</html>"), "not a tfviz viewer. Received: '200 <html>It works!</html>'. Pass the address that"),
        ((301, b"moved"), "is not a tfviz viewer. Received: '301 moved'"),
        ((200, b"x" * 5_000_000), "is not a tfviz viewer. Received: '200 xxxxx"),
        ((0, b"SSH-2.0-OpenSSH_9.6\r\n"), "is not responding (SSH-2.0-OpenSSH_9.6)"),
        ((0, b""), "is not responding (Remote end closed connection without response)"),
        ((0, b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 2000), "is not responding (got more than 100 headers)"),
    ],
)
def test_an_unexpected_response_is_reported_once_and_retried(
    viewer: FakeViewer, trainer: FakeTrainer, answer: tuple[int, bytes], message: str
) -> None:
    viewer.fault = failing(6, answer)
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    assert len(training.raised) == 1 and message in str(training.raised[0]) and len(str(training.raised[0])) < 400
    assert viewer.numbers == [0, 1, 2] and len(viewer.files) == 2 + 3 * PICTURES


@pytest.mark.parametrize("state", [b"[]", b"null", b"{}", b'{"last": "x", "images": 0}', b"nonsense"])
def test_an_invalid_state_is_reported(viewer: FakeViewer, trainer: FakeTrainer, state: bytes) -> None:
    viewer.fault = failing(3, (200, state), of="/state")
    training = Training(trainer, viewer.url)
    training.snap()
    training.close()
    assert "is not a tfviz viewer. Received:" in str(training.raised[0]) and viewer.numbers == [0] and len(training.raised) == 1


def test_after_a_conflict_the_viewer_is_asked_what_it_has(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(1, (409, b'{"detail": "no", "last": 0}'), of="/snapshots/1")
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    assert viewer.numbers == [0, 1, 2] and training.raised == []
    assert sum(path.endswith("/state") for _, path in viewer.requests) == 2


def test_repeated_conflicts_end_the_attempt(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(-1, (409, b'{"detail": "no"}'), of="/snapshots/0")
    trainer.snap()
    training = Training(trainer, viewer.url, drain_timeout_s=0.1)
    training.close()
    first, last = training.raised
    assert isinstance(first, ViewerUnavailableError) and "(409: no)" in str(first)
    assert "1 snapshot was not sent" in str(last) and "(409: no)" in str(last)


def test_a_wrong_token_is_reported_with_advice(trainer: FakeTrainer) -> None:
    viewer = FakeViewer(token="secret")
    training = Training(trainer, viewer.url, token="guessed")
    training.snap(3)
    training.close()
    error, last = training.raised
    assert isinstance(error, ViewerRejectionError) and error.status == 401
    assert str(error).endswith(
        "rejected a request (401: the token is missing or wrong). Pass the token that `tfviz watch` was started with."
    )
    message = f"3 snapshots were not sent to the viewer at {viewer.url}. {error} Nothing is lost: all snapshots are in "
    assert str(last).startswith(message)
    assert len(viewer.requests) == 2  # at the start and at the end, because retrying is pointless
    training = Training(trainer, viewer.url, token="secret")
    training.close()
    viewer.kill()
    assert viewer.numbers == [0, 1, 2] and training.raised == []


def test_a_rejection_after_an_outage_is_reported_too(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    viewer.kill()
    training.snap()
    assert eventually(lambda: training.sink._upload.trouble is not None)  # type: ignore[union-attr]
    training.snap()
    viewer.token = "another"
    viewer.start()
    assert eventually(lambda: isinstance(training.sink._upload.trouble, ViewerRejectionError))  # type: ignore[union-attr]
    training.snap()
    assert [type(error) for error in training.raised] == [ViewerUnavailableError, ViewerRejectionError]
    viewer.token = None
    training.close()
    assert viewer.numbers == [0, 1, 2]  # the end of the training triggers one more attempt


def test_a_rejected_picture_is_skipped_and_reported_once(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(-1, (413, b'{"detail": "too large"}'), of="/grad_cam/1.png")
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    (error,) = training.raised
    assert str(error).startswith("A picture was skipped. The viewer at") and "(413: too large)" in str(error)
    assert viewer.numbers == [0, 1, 2] and len(viewer.files) == 2 + 3 * (PICTURES - 1)


def test_a_rejected_record_stops_the_sending_and_nothing_is_skipped(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(-1, (422, b'{"detail": "logs: too many"}'), of="/snapshots/1")
    trainer.snap(3)
    training = Training(trainer, viewer.url)
    training.close()
    assert "(422: logs: too many)" in str(training.raised[0]) and "2 snapshots were not sent" in str(training.raised[1])
    assert viewer.numbers == [0]


def test_missing_pictures_do_not_stop_the_rest(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    trainer.snap(2)
    (trainer.folder / "pictures" / "00000000" / "grad_cam" / "0.png").unlink()
    (trainer.folder / "images" / "1.png").unlink()
    training = Training(trainer, viewer.url)
    training.close()
    assert viewer.numbers == [0, 1] and len(viewer.files) == 1 + 2 * PICTURES - 1 and training.raised == []


def test_a_missing_folder_is_not_an_error(viewer: FakeViewer, trainer: FakeTrainer, tmp_path: Path) -> None:
    training = Training(trainer, viewer.url)
    training.snap(2)
    assert eventually(lambda: viewer.numbers == [0, 1])
    shutil.move(trainer.folder, tmp_path / "away")
    training.sink.write(None)  # type: ignore[arg-type]
    shutil.move(tmp_path / "away", trainer.folder)
    training.snap(1)
    training.close()
    assert viewer.numbers == [0, 1, 2] and training.raised == []


def test_a_connection_closed_by_the_viewer_is_reopened(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    for _ in range(3):
        training.snap()
        assert eventually(lambda: viewer.numbers == read_numbers(trainer))
        viewer.cut_connections()
    training.close()
    assert training.raised == [] and viewer.connections == 3


def test_the_thread_ends_with_the_training_and_starts_with_the_next(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    before = set(threading.enumerate())
    training = Training(trainer, viewer.url)
    (thread,) = (one for one in set(threading.enumerate()) - before if one.name == "tfviz-upload")
    training.close()
    assert thread.daemon and not thread.is_alive()
    training.sink.close()  # closing twice has no effect
    training.sink.open(trainer.run, trainer.folder)
    training.snap()
    training.close()
    assert viewer.numbers == [0] and training.raised == []


def test_an_internal_error_is_reported_and_does_not_end_the_sending(
    viewer: FakeViewer, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, calls = upload_thread.RunSender.send_all, [0]

    def broken(self: Any, is_over: Any) -> int:
        calls[0] += 1
        return 1 // 0 if calls[0] == 1 else true(self, is_over)

    monkeypatch.setattr(upload_thread.RunSender, "send_all", broken)
    training = Training(trainer, viewer.url)
    training.snap()
    training.close()
    assert viewer.numbers == [0] and [str(error) for error in training.raised] == [
        "Sending to the viewer failed (ZeroDivisionError: integer division or modulo by zero)."
    ]


@pytest.mark.parametrize(
    "url", ["localhost:1337", "ftp://host", "http://", "http://host:port", "http://a b", "http://host/?token=x", "http://é", 7]
)
def test_an_invalid_address_is_rejected_immediately(url: Any) -> None:
    with pytest.raises(OptionError, match=r'`viewer` must be an address such as "http://192.168.1.7:1337"\. Received: '):
        ViewerSink(url)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nbreak", "ключ"])
def test_a_token_that_cannot_be_sent_is_rejected_immediately(token: str) -> None:
    with pytest.raises(OptionError, match="`token` must be a string of printable ASCII characters without spaces"):
        ViewerSink("http://host:1337", token)


def test_the_address_may_include_a_path(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    Training(trainer, f"{viewer.url}/maps/", drain_timeout_s=0.1).close()
    assert viewer.requests[0] == ("PUT", f"/maps/api/runs/{ID}")


# The viewer itself


class Watch:
    """`tfviz watch` in a separate process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.start()

    def start(self) -> None:
        words = ["watch", self.folder, "--port", self.port, "--token", "secret"]
        command = [sys.executable, "-m", "tfviz", *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None and b"Watching" in self.process.stdout.readline()
        assert eventually(self.is_listening)

    def is_listening(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_a_restarted_real_viewer_receives_what_it_missed(trainer: FakeTrainer, tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    watch = Watch(tmp_path / "store", free_port())
    try:
        training = Training(trainer, f"http://127.0.0.1:{watch.port}", token="secret")
        training.snap(5)
        assert eventually(lambda: received_records(watch) == [0, 1, 2, 3, 4])
        watch.kill()
        training.snap(4)
        assert eventually(lambda: training.sink._upload.trouble is not None)  # type: ignore[union-attr]
        training.snap(4)
        assert [type(error) for error in training.raised] == [ViewerUnavailableError]
        watch.start()
        training.snap(1)
        training.close()
        (folder,) = (path.parent for path in watch.folder.rglob("run.json"))
        assert read_records(folder) == read_records(trainer.folder) and len(training.raised) == 1
        for path in trainer.folder.rglob("*.png"):
            assert (folder / path.relative_to(trainer.folder)).read_bytes() == path.read_bytes()
    finally:
        watch.kill()


def received_records(watch: Watch) -> list[int]:
    return [record["number"] for path in watch.folder.rglob("run.json") for record in read_records(path.parent)]


# With the callback


def small_training(**options: Any) -> Any:
    """Train a small network for two epochs, with snapshots of one image."""
    import keras
    import numpy as np

    import tfviz

    rng = np.random.default_rng(0)
    images, labels = rng.random((12, 8, 8, 3), np.float32), rng.integers(0, 2, 12)
    layers = [keras.layers.Conv2D(2, 3, activation="relu"), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    snapshots = tfviz.SnapshotCallback("grad_cam", images[:1], every=1, **options)
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0, callbacks=[snapshots])
    return model


def test_the_callback_sends_to_a_viewer(viewer: FakeViewer, tmp_path: Path) -> None:
    viewer.token = "secret"
    small_training(log_dir=tmp_path / "run", viewer=viewer.url, token="secret")
    assert viewer.records == read_records(tmp_path / "run") and len(viewer.records) >= 7
    assert viewer.files["pictures/3/grad_cam/0.png"] == (tmp_path / "run/pictures/00000003/grad_cam/0.png").read_bytes()


def test_an_unavailable_viewer_causes_a_warning_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ViewerSink.__init__, "__kwdefaults__", {"timeout_s": 1.0, "drain_timeout_s": 0.1})
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.warns(SnapshotWarning) as caught:
        small_training(log_dir=tmp_path / "run", viewer=url)
    messages = [str(warning.message) for warning in caught]
    assert f"The viewer at {url} is not responding" in messages[0] and len(read_records(tmp_path / "run")) >= 7
    assert sum("is not responding" in line for line in messages) <= 2
    with pytest.raises(ViewerError, match="is not responding"):
        small_training(log_dir=tmp_path / "strict", viewer=url, strict=True)
