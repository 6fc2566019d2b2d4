"""Sending to a viewer that is there, away, back again, slow, strange, or that refuses; and to the
real one.
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
from tfviz.snapshots.upload.viewer_client import ViewerAwayError, ViewerError, ViewerRefusalError

ID = "0123456789abcdef" * 2
PICTURES = 4  # of a snapshot: two methods, two images


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
    """A trainer whose snapshots go to a sink, as the callback would have it; what the sink raises
    is collected.
    """

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


def test_a_viewer_gets_all_that_the_folder_has_in_order(viewer: FakeViewer, trainer: FakeTrainer) -> None:
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
    of_two = [path.split("/", 4)[4] for method, path in viewer.asked if "/2" in path.split("/", 4)[-1][:12]]
    assert of_two.index("snapshots/2") == PICTURES  # after its pictures
    assert viewer.connections == 1  # kept open


def test_what_the_viewer_has_is_not_sent_again(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    for _ in range(2):  # a training, and its continuation into the same folder
        training = Training(trainer, viewer.url)
        training.snap(2)
        training.close()
    assert viewer.numbers == [0, 1, 2, 3] and training.raised == []
    sent = [path for method, path in viewer.asked if method == "PUT" and path.endswith(".png")]
    assert len(sent) == len(set(sent)) == 2 + 4 * PICTURES


def test_snapshots_from_before_the_viewer_was_named_are_sent_too(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    trainer.snap(5)
    training = Training(trainer, viewer.url)
    training.close()
    assert viewer.numbers == [0, 1, 2, 3, 4]


def test_a_viewer_that_is_absent_at_the_start_gets_all_when_it_comes(trainer: FakeTrainer, capsys: Any) -> None:
    port = free_port()
    training = Training(trainer, f"http://127.0.0.1:{port}/")
    training.snap(4)
    (trouble,) = training.raised  # one warning, and at once
    assert isinstance(trouble, ViewerAwayError)
    assert re.search(
        rf"The viewer at http://127.0.0.1:{port} does not answer \(Connection refused\)\. What it misses", str(trouble)
    )
    viewer = FakeViewer(port=port)
    assert eventually(lambda: viewer.numbers == [0, 1, 2, 3])
    training.close()
    viewer.kill()
    assert training.raised == [trouble]
    assert capsys.readouterr().err == (
        f"The viewer at http://127.0.0.1:{port} is back; 4 snapshots that it had missed were sent.\n"
    )


def test_a_viewer_that_is_killed_and_comes_back_gets_what_it_missed(
    viewer: FakeViewer, trainer: FakeTrainer, capsys: Any
) -> None:
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
    assert re.findall(r"is back; (\d+ snapshots?)", capsys.readouterr().err) == ["4 snapshots"] * 2


def read_numbers(trainer: FakeTrainer) -> list[int]:
    return [record["number"] for record in read_records(trainer.folder)]


def test_waiting_for_a_viewer_draws_no_random_number_of_the_training(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    random.seed(3)
    undisturbed, tries = random.getstate(), 4
    viewer.fault = lambda method, path: (500, b"{}") if len(viewer.asked) < tries else None
    training = Training(trainer, viewer.url)
    training.snap(2)
    assert eventually(lambda: viewer.numbers == [0, 1]) and len(viewer.asked) > tries
    training.close()
    assert random.getstate() == undisturbed


def test_a_viewer_that_has_lost_its_runs_gets_them_again(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    training.snap(2)
    assert eventually(lambda: viewer.numbers == [0, 1])
    viewer.runs, viewer.files, viewer.records = {}, {}, []
    training.snap(1)
    training.close()
    assert viewer.numbers == [0, 1, 2] and len(viewer.files) == 2 + 3 * PICTURES and training.raised == []


def test_training_does_not_wait_for_a_viewer_that_does_not_answer(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    is_slow, is_asked = threading.Event(), threading.Event()

    def wait(method: str, path: str) -> None:
        is_asked.set()
        is_slow.wait(30)

    viewer.fault = wait
    training = Training(trainer, viewer.url, drain_timeout_s=0.1)
    training.snap(50)  # would last for ever if one of them waited
    assert is_asked.wait(10) and viewer.numbers == [] and training.raised == []
    training.close()
    is_slow.set()
    (error,) = training.raised
    assert str(error) == (
        f"50 snapshots were not sent to the viewer at {viewer.url}. They are in {trainer.folder}: the next training into "
        f"that folder sends them, and `tfviz watch {trainer.folder}` shows them."
    )


def test_a_viewer_that_takes_too_long_counts_as_away(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    slow = threading.Event()
    viewer.fault = lambda method, path: slow.wait(30) and None
    training = Training(trainer, viewer.url, timeout_s=0.05)
    assert isinstance(training.raised[0], ViewerAwayError) and "does not answer (timed out)" in str(training.raised[0])
    slow.set()
    training.snap(2)
    training.close()
    assert viewer.numbers == [0, 1] and len(training.raised) == 1


def test_a_slow_viewer_still_gets_everything_before_the_end(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = lambda method, path: time.sleep(0.01)
    training = Training(trainer, viewer.url)
    training.snap(5)
    training.close()
    assert viewer.numbers == [0, 1, 2, 3, 4] and training.raised == []


def failing(times: int, answer: tuple[int, bytes], of: str = "") -> Callable[[str, str], tuple[int, bytes] | None]:
    """A fault: so many of the requests whose path ends like that are answered so."""
    left = [times]

    def fault(method: str, path: str) -> tuple[int, bytes] | None:
        if not path.endswith(of) or left[0] == 0:
            return None
        left[0] -= 1
        return answer

    return fault


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b"Internal Server Error"), "cannot take snapshots now (500: Internal Server Error). They are sent when it can"),
        ((507, b'{"detail": "the disk\\n is full"}'), "cannot take snapshots now (507: the disk is full)"),
        ((429, b'{"detail": "too many"}'), "cannot take snapshots now (429: too many)"),
        ((200, b"<html>It works!</html>"), "is no viewer; it said '200 <html>It works!</html>'. Give the address that"),
        ((301, b"moved"), "is no viewer; it said '301 moved'"),
        ((200, b"x" * 5_000_000), "is no viewer; it said '200 xxxxx"),
        ((0, b"SSH-2.0-OpenSSH_9.6\r\n"), "does not answer (SSH-2.0-OpenSSH_9.6)"),
        ((0, b""), "does not answer (Remote end closed connection without response)"),
        ((0, b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 2000), "does not answer (got more than 100 headers)"),
    ],
)
def test_an_answer_that_makes_no_sense_is_told_once_and_tried_again(
    viewer: FakeViewer, trainer: FakeTrainer, answer: tuple[int, bytes], said: str
) -> None:
    viewer.fault = failing(6, answer)
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    assert len(training.raised) == 1 and said in str(training.raised[0]) and len(str(training.raised[0])) < 400
    assert viewer.numbers == [0, 1, 2] and len(viewer.files) == 2 + 3 * PICTURES


@pytest.mark.parametrize("state", [b"[]", b"null", b"{}", b'{"last": "x", "images": 0}', b"nonsense"])
def test_a_state_that_is_none_is_told(viewer: FakeViewer, trainer: FakeTrainer, state: bytes) -> None:
    viewer.fault = failing(3, (200, state), of="/state")
    training = Training(trainer, viewer.url)
    training.snap()
    training.close()
    assert "is no viewer; it said" in str(training.raised[0]) and viewer.numbers == [0] and len(training.raised) == 1


def test_a_viewer_that_expects_another_snapshot_is_asked_what_it_has(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(1, (409, b'{"detail": "no", "last": 0}'), of="/snapshots/1")
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    assert viewer.numbers == [0, 1, 2] and training.raised == []
    assert sum(path.endswith("/state") for _, path in viewer.asked) == 2


def test_a_viewer_that_always_expects_another_is_asked_for_a_bounded_time(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(-1, (409, b'{"detail": "no"}'), of="/snapshots/0")
    trainer.snap()
    training = Training(trainer, viewer.url, drain_timeout_s=0.1)
    training.close()
    first, last = training.raised
    assert isinstance(first, ViewerAwayError) and "(409: no)" in str(first)
    assert "1 snapshot was not sent" in str(last) and "(409: no)" in str(last)


def test_a_wrong_token_is_told_with_what_to_do(trainer: FakeTrainer) -> None:
    viewer = FakeViewer(token="secret")
    training = Training(trainer, viewer.url, token="guessed")
    training.snap(3)
    training.close()
    told, last = training.raised
    assert isinstance(told, ViewerRefusalError) and told.status == 401
    assert str(told).endswith(
        "refuses what it is sent (401: the token is missing or wrong). Give the token that `tfviz watch` was started with."
    )
    assert str(last).startswith(f"3 snapshots were not sent to the viewer at {viewer.url}. {told} They are in ")
    assert len(viewer.asked) == 2  # at the start and at the end: it is no use to ask on and on
    training = Training(trainer, viewer.url, token="secret")
    training.close()
    viewer.kill()
    assert viewer.numbers == [0, 1, 2] and training.raised == []


def test_a_refusal_after_an_outage_is_told_too(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    viewer.kill()
    training.snap()
    assert eventually(lambda: training.sink._upload.trouble is not None)  # type: ignore[union-attr]
    training.snap()
    viewer.token = "another"
    viewer.start()
    assert eventually(lambda: isinstance(training.sink._upload.trouble, ViewerRefusalError))  # type: ignore[union-attr]
    training.snap()
    assert [type(error) for error in training.raised] == [ViewerAwayError, ViewerRefusalError]
    viewer.token = None
    training.close()
    assert viewer.numbers == [0, 1, 2]  # the end of the training is a reason to ask once more


def test_a_picture_that_is_refused_is_left_out_and_told_once(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(-1, (413, b'{"detail": "too large"}'), of="/grad_cam/1.png")
    training = Training(trainer, viewer.url)
    training.snap(3)
    training.close()
    (told,) = training.raised
    assert str(told).startswith("A picture was left out: The viewer at") and "(413: too large)" in str(told)
    assert viewer.numbers == [0, 1, 2] and len(viewer.files) == 2 + 3 * (PICTURES - 1)


def test_a_record_that_is_refused_stops_the_sending_and_nothing_is_skipped(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    viewer.fault = failing(-1, (422, b'{"detail": "logs: too many"}'), of="/snapshots/1")
    trainer.snap(3)
    training = Training(trainer, viewer.url)
    training.close()
    assert "(422: logs: too many)" in str(training.raised[0]) and "2 snapshots were not sent" in str(training.raised[1])
    assert viewer.numbers == [0]


def test_pictures_that_are_lost_from_the_folder_do_not_stop_the_rest(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    trainer.snap(2)
    (trainer.folder / "pictures" / "00000000" / "grad_cam" / "0.png").unlink()
    (trainer.folder / "images" / "1.png").unlink()
    training = Training(trainer, viewer.url)
    training.close()
    assert viewer.numbers == [0, 1] and len(viewer.files) == 1 + 2 * PICTURES - 1 and training.raised == []


def test_a_folder_that_is_gone_is_nothing_to_send(viewer: FakeViewer, trainer: FakeTrainer, tmp_path: Path) -> None:
    training = Training(trainer, viewer.url)
    training.snap(2)
    assert eventually(lambda: viewer.numbers == [0, 1])
    shutil.move(trainer.folder, tmp_path / "away")
    training.sink.write(None)  # type: ignore[arg-type]
    shutil.move(tmp_path / "away", trainer.folder)
    training.snap(1)
    training.close()
    assert viewer.numbers == [0, 1, 2] and training.raised == []


def test_a_connection_that_the_viewer_closed_meanwhile_is_no_trouble(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    training = Training(trainer, viewer.url)
    for _ in range(3):
        training.snap()
        assert eventually(lambda: viewer.numbers == read_numbers(trainer))
        viewer.cut_connections()
    training.close()
    assert training.raised == [] and viewer.connections == 3


def test_the_thread_ends_with_the_training_and_begins_with_the_next(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    before = set(threading.enumerate())
    training = Training(trainer, viewer.url)
    (thread,) = (one for one in set(threading.enumerate()) - before if one.name == "tfviz-upload")
    training.close()
    assert thread.daemon and not thread.is_alive()
    training.sink.close()  # once more is nothing
    training.sink.open(trainer.run, trainer.folder)
    training.snap()
    training.close()
    assert viewer.numbers == [0] and training.raised == []


def test_a_fault_of_our_own_is_told_and_does_not_end_the_sending(
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
def test_an_address_that_cannot_be_one_is_refused_at_once(url: Any) -> None:
    with pytest.raises(OptionError, match=r'viewer: expected an address such as "http://192.168.1.7:1337", got '):
        ViewerSink(url)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nbreak", "ключ"])
def test_a_token_that_cannot_be_sent_is_refused_at_once(token: str) -> None:
    with pytest.raises(OptionError, match="token: expected letters, digits and signs without spaces"):
        ViewerSink("http://host:1337", token)


def test_a_viewer_may_live_under_a_path(viewer: FakeViewer, trainer: FakeTrainer) -> None:
    Training(trainer, f"{viewer.url}/maps/", drain_timeout_s=0.1).close()
    assert viewer.asked[0] == ("PUT", f"/maps/api/runs/{ID}")


# The viewer itself


class Watch:
    """`tfviz watch` as a process of its own."""

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


def test_the_real_viewer_is_killed_and_gets_what_it_missed(trainer: FakeTrainer, tmp_path: Path) -> None:
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
        assert [type(error) for error in training.raised] == [ViewerAwayError]
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
    """Two epochs of a small network with snapshots of one image."""
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


def test_an_absent_viewer_is_a_warning_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ViewerSink.__init__, "__kwdefaults__", {"timeout_s": 1.0, "drain_timeout_s": 0.1})
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.warns(SnapshotWarning) as caught:
        small_training(log_dir=tmp_path / "run", viewer=url)
    said = [str(warning.message) for warning in caught]
    assert f"The viewer at {url} does not answer" in said[0] and len(read_records(tmp_path / "run")) >= 7
    assert sum("does not answer" in line for line in said) <= 2
    with pytest.raises(ViewerError, match="does not answer"):
        small_training(log_dir=tmp_path / "strict", viewer=url, strict=True)
