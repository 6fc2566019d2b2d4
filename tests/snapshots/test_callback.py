"""What the callback records and when, compared with the training itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import snapshot_material as material
from support.snapshot_material import Eager, assert_complete, at_batch

import tfviz
from tfviz.snapshots.callback import SnapshotCallback
from tfviz.snapshots.faults import SnapshotWarning
from tfviz.snapshots.named_methods import named_methods, unrelated_model_error


@pytest.fixture(scope="module")
def shared_eager() -> Eager:
    return Eager()


@pytest.fixture
def eager(shared_eager: Eager) -> Eager:
    shared_eager.reset()
    return shared_eager


class Weights(keras.callbacks.Callback):
    """The weights before training, after each batch and each epoch, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[Any, list[np.ndarray]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self.at["start"] = self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.at[self.epoch, batch + 1] = self.model.get_weights()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.at[epoch, None] = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        self.at["end"] = self.model.get_weights()

    def of(self, record: dict[str, Any]) -> list[np.ndarray]:
        return self.at.get(record["when"]) or self.at[record["epoch"], record["batch"]]


def summary(folder: Path) -> list[tuple[Any, ...]]:
    return [(record["when"], record["epoch"], record["batch"], record["step"]) for record in assert_complete(folder)]


@pytest.mark.parametrize("every", ["epoch", 2])
def test_each_snapshot_shows_the_weights_of_its_moment(tmp_path: Path, eager: Eager, every: str | int) -> None:
    weights = Weights()
    eager.fit(eager.callback(tmp_path, every=every), weights, epochs=2)
    records = assert_complete(tmp_path)
    for record in records:
        eager.model.set_weights(weights.of(record))
        expected = eager.explainer(eager.images[:2]).numpy()
        with np.load(tmp_path / "maps" / f"{record['number']:08d}.npz") as maps:
            np.testing.assert_allclose(maps["grad_cam"], expected, atol=1e-3 * abs(expected).max())
        predicted = eager.model.predict(eager.images[:2], verbose=0)
        for prediction, outputs in zip(record["predictions"], predicted, strict=True):
            assert prediction["class"] == outputs.argmax()
            assert prediction["score"] == pytest.approx(outputs.max(), rel=1e-5)
        drawn = tfviz.overlay(eager.images[:2], expected, style="heatmap", underlay="gray")
        picture = tfviz.read_image(tmp_path / "pictures" / f"{record['number']:08d}" / "grad_cam" / "1.png")
        assert abs(picture.astype(int) - drawn[1]).max() <= 1
    assert len(records) == {"epoch": 4, 2: 7}[every]


def test_the_record_of_an_epoch_includes_validation_metrics(tmp_path: Path, eager: Eager) -> None:
    before = time.time()
    history = eager.fit(eager.callback(tmp_path), epochs=2, validation_data=material.data(8, seed=4)).history
    records = assert_complete(tmp_path)
    assert [record["when"] for record in records] == ["start", "epoch", "epoch", "end"]
    for record in records[1:]:
        assert record["logs"] == {name: values[record["epoch"]] for name, values in history.items()}
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} == set(records[1]["logs"])
    times = [record["time"] for record in records]
    assert before <= times[0] and times == sorted(times) and times[-1] <= time.time()


def test_the_logs_of_a_record_are_those_of_its_moment(tmp_path: Path, eager: Eager) -> None:
    """Even if it is written after a later callback, such as ReduceLROnPlateau, added to them."""
    has_added = threading.Event()

    class Held(tfviz.Sink):
        def write(self, snapshot: Any) -> None:
            assert has_added.wait(20)

    class Adding(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["added"] = 1.0
            has_added.set()

    eager.fit(eager.callback(tmp_path, sinks=[Held()]), Adding())
    assert set(assert_complete(tmp_path)[1]["logs"]) == {"loss", "accuracy"}


def test_batches_count_across_epochs_and_have_their_own_logs(tmp_path: Path, eager: Eager) -> None:
    found: list[dict[str, float]] = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: found.append(dict(logs)))
    eager.fit(eager.callback(tmp_path, every=3), note, epochs=2)
    assert summary(tmp_path) == [
        ("start", 0, None, 0), ("batch", 0, 3, 3), ("batch", 1, 1, 6), ("batch", 1, 4, 9), ("end", 1, None, 10)
    ]  # fmt: skip
    for record in assert_complete(tmp_path)[1:-1]:
        assert record["logs"] == found[record["step"] - 1]


def test_validation_metrics_appear_in_the_next_record(tmp_path: Path, eager: Eager) -> None:
    history = eager.fit(eager.callback(tmp_path, every=3), epochs=3, validation_data=material.data(8, seed=4)).history
    records = assert_complete(tmp_path)
    found = [(record["step"], record["logs"]["val_loss"]) for record in records if "val_loss" in record["logs"]]
    assert found == [(6, history["val_loss"][0]), (12, history["val_loss"][1]), (15, history["val_loss"][2])]
    assert "loss" in records[2]["logs"]


def test_a_chosen_class_is_recorded_with_its_score(tmp_path: Path, eager: Eager) -> None:
    eager.fit(eager.callback(tmp_path / "named", labels=["a", "b", "c", "d"], target="c", truth=["d", "a"]))
    record = assert_complete(tmp_path / "named")[-1]
    scores = eager.model.predict(eager.images[:2], verbose=0)[:, 2]
    assert [one["class"] for one in record["explained"]] == [2, 2]
    assert [one["score"] for one in record["explained"]] == pytest.approx(scores.tolist(), rel=1e-5)
    assert tfviz.runs.run_reader.read_run(tmp_path / "named")["true_classes"] == [3, 0]
    eager.fit(eager.callback(tmp_path / "top"))
    assert "explained" not in assert_complete(tmp_path / "top")[-1]
    assert "true_classes" not in tfviz.runs.run_reader.read_run(tmp_path / "top")
    for target, message in (("e", "No class is named 'e'"), ("top2", "explains one target per image")):
        with pytest.raises(tfviz.TargetError, match=message):
            eager.callback(tmp_path / "wrong", labels=["a", "b", "c", "d"], target=target)


def test_the_strength_of_excitation_maps_is_recorded(tmp_path: Path, eager: Eager) -> None:
    eager.fit(SnapshotCallback(["excitation_backprop", "grad_cam"], eager.images[:2], log_dir=tmp_path))
    record = assert_complete(tmp_path)[-1]
    with np.load(tmp_path / "maps" / f"{record['number']:08d}.npz") as maps:
        sums = maps["excitation_backprop"].astype(float).sum(axis=(1, 2))
    for words, total in zip(record["strengths"]["excitation_backprop"], sums, strict=True):
        assert words.startswith(f"sum {total:.2f} of 1")


def test_maps_can_be_drawn_over_color_images(tmp_path: Path, eager: Eager) -> None:
    eager.fit(eager.callback(tmp_path, underlay="color"))
    drawn = tfviz.overlay(eager.images[:2], eager.explainer(eager.images[:2]).numpy(), style="heatmap")
    number = len(assert_complete(tmp_path)) - 1
    found = tfviz.read_image(tmp_path / "pictures" / f"{number:08d}" / "grad_cam" / "0.png")
    assert abs(found.astype(int) - drawn[0]).max() <= 1


def test_a_second_fit_continues_the_run(tmp_path: Path, eager: Eager) -> None:
    callback = eager.callback(tmp_path)
    for _ in range(2):
        eager.fit(callback)
    once = [("start", 0, None, 0), ("epoch", 0, None, 5), ("end", 0, None, 5)]
    assert summary(tmp_path) == [*once, ("start", 0, None, 5), ("epoch", 0, None, 10), ("end", 0, None, 10)]


def test_a_new_callback_continues_the_run_in_the_folder(tmp_path: Path, eager: Eager) -> None:
    eager.fit(eager.callback(tmp_path, every=4))
    first = tfviz.runs.run_reader.read_run(tmp_path)
    with (tmp_path / "snapshots.jsonl").open("a") as index:
        index.write('{"number": 3, "when": "ba')  # as a writer leaves it that was killed midway
    eager.fit(eager.callback(tmp_path, every=4), initial_epoch=1, epochs=2)
    assert summary(tmp_path) == [
        ("start", 0, None, 0), ("batch", 0, 4, 4), ("end", 0, None, 5),
        ("start", 1, None, 5), ("batch", 1, 3, 8), ("end", 1, None, 10),
    ]  # fmt: skip
    second = tfviz.runs.run_reader.read_run(tmp_path)
    assert (second["id"], second["started"]) == (first["id"], first["started"])


def test_new_weights_are_noted_without_classes(tmp_path: Path) -> None:
    images = material.data()[0][:8]

    def model() -> keras.Model:
        built = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 3, padding="same", activation="relu")])
        built.compile("sgd", "mse", run_eagerly=True)
        return built

    first = model()
    for network in (first, first, model()):
        callback = tfviz.SnapshotCallback("visual_backprop", images[:2], log_dir=tmp_path)
        network.fit(images, images, verbose=0, callbacks=[callback])
    starts = [record.get("has_new_weights") for record in assert_complete(tmp_path) if record["when"] == "start"]
    assert starts == [None, False, True]


def test_the_last_snapshot_shows_weights_restored_by_early_stopping(tmp_path: Path, eager: Eager) -> None:
    stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9, restore_best_weights=True)
    eager.fit(stop, eager.callback(tmp_path), epochs=5)
    records = assert_complete(tmp_path)
    assert [(record["when"], record["epoch"]) for record in records] == [
        ("start", 0), ("epoch", 0), ("epoch", 1), ("end", 1)
    ]  # fmt: skip
    assert records[-1]["predictions"] == records[1]["predictions"] != records[2]["predictions"]


def test_stopping_inside_an_epoch_keeps_the_snapshot_that_was_due(tmp_path: Path, eager: Eager) -> None:
    def stop() -> None:
        eager.model.stop_training = True

    eager.fit(at_batch(2, stop), eager.callback(tmp_path, every=2), epochs=3)
    assert summary(tmp_path) == [("start", 0, None, 0), ("batch", 0, 2, 2), ("end", 0, None, 2)]


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), KeyboardInterrupt()])
def test_snapshots_taken_before_an_exception_are_complete(tmp_path: Path, eager: Eager, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)), eager.callback(tmp_path, every=1, max_queued=100) as callback:
        eager.fit(at_batch(4, fail), callback)
    assert summary(tmp_path) == [("start", 0, None, 0), *(("batch", 0, count, count) for count in (1, 2, 3))]


def test_after_an_exception_another_callback_continues_the_run(tmp_path: Path, eager: Eager) -> None:
    """As in a notebook, where the first callback stays alive and may still be writing."""
    first = eager.callback(tmp_path, every=1, sinks=[Slow()])
    with pytest.raises(ZeroDivisionError):
        eager.fit(at_batch(4, lambda: 1 / 0), first)
    eager.fit(eager.callback(tmp_path, every=5))
    assert [record["step"] for record in assert_complete(tmp_path)] == [0, 1, 2, 3, 3, 5, 8]
    assert first is not None


class Slow(tfviz.Sink):
    def write(self, snapshot: Any) -> None:
        time.sleep(0.05)


STOPPED = """
import os, signal, sys, threading
from support import snapshot_material as material

import tfviz

class Printer(tfviz.Sink):
    def write(self, snapshot):
        print("written", snapshot.record["step"])

    def close(self):
        print("closed")

eager = material.Eager()
eager.reset()
callback = eager.callback(sys.argv[1], every=1, max_queued=100, sinks=[Printer()])
if sys.argv[2] == "raise":
    stop = lambda: 1 / 0
else:
    stop = lambda: os.kill(os.getpid(), signal.SIGINT)
eager.fit(material.at_batch(4, stop), callback, epochs=100)
"""


@pytest.mark.parametrize("how", ["raise", "interrupt"])
def test_a_stopped_program_writes_its_snapshots_before_it_exits(tmp_path: Path, how: str) -> None:
    tests = Path(__file__).parents[1]
    code = f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]\n{STOPPED}"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), how], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert {"raise": "ZeroDivisionError", "interrupt": "KeyboardInterrupt"}[how] in done.stderr
    records = assert_complete(tmp_path)
    assert [record["step"] for record in records][:4] == [0, 1, 2, 3]
    assert "end" not in [record["when"] for record in records]
    assert done.stdout.splitlines() == [*(f"written {record['step']}" for record in records), "closed"]


def test_two_callbacks_cannot_write_to_one_folder(tmp_path: Path, eager: Eager) -> None:
    with pytest.raises(tfviz.OptionError, match="Two callbacks cannot both write to log_dir"):
        eager.fit(eager.callback(tmp_path), eager.callback(tmp_path))


HOLDING = """
import sys, time
from pathlib import Path
from tfviz.runs.folder_lock import FolderLock

lock = FolderLock()
lock.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="goes without locks")
def test_two_processes_cannot_write_to_one_folder(tmp_path: Path, eager: Eager) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(tfviz.OutputError, match="Another training run is writing to log_dir"):
            eager.fit(eager.callback(tmp_path))
        other.kill()
    eager.fit(eager.callback(tmp_path))
    assert len(assert_complete(tmp_path)) == 3


FORKING = """
import os, sys, time
from pathlib import Path
from tfviz.runs.folder_lock import FolderLock

folder = Path(sys.argv[1])
lock = FolderLock()
lock.take(folder)
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
lock.release()
try:
    FolderLock().take(folder)
    print("free")
finally:
    os.kill(child, 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="goes without locks")
def test_a_child_process_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    """For example, a data loading worker that outlives the training."""
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout == "free\n", done.stderr


def test_explainers_are_traced_once(tmp_path: Path, eager: Eager) -> None:
    explainer = tfviz.VisualBackProp(eager.model)
    callback = eager.callback(tmp_path, explainers=explainer, every=1)
    for _ in range(2):
        eager.fit(callback, epochs=2)
    assert len(assert_complete(tmp_path)) == 2 * 12
    assert explainer.traces == 1


def test_an_explainer_of_a_model_that_shares_layers_reads_live_weights(tmp_path: Path, eager: Eager) -> None:
    body = keras.Model(eager.model.inputs, eager.model.get_layer("conv").output)
    explainer = tfviz.Saliency(body, score="outputs")

    def brightness(outputs: Any) -> Any:
        return keras.ops.sum(outputs, axis=(1, 2, 3))

    eager.fit(eager.callback(tmp_path, explainers=[explainer], target=brightness, strict=True))
    expected = explainer(eager.images[:2], brightness).numpy()
    with np.load(tmp_path / "maps" / "00000002.npz") as maps:
        np.testing.assert_allclose(maps["saliency"], expected, atol=1e-3 * abs(expected).max())
    assert assert_complete(tmp_path)[0]["predictions"] == [None, None]  # not classes


def test_an_explainer_of_an_untrained_model_causes_a_warning_in_each_training(tmp_path: Path, eager: Eager) -> None:
    other = material.plain_network()
    callback = eager.callback(tmp_path / "run", explainers=[tfviz.GradCAM(other), eager.explainer])
    for _ in range(2):
        with pytest.warns(SnapshotWarning) as caught:
            eager.fit(callback)
        (message,) = [str(warning.message) for warning in caught if warning.category is SnapshotWarning]
        assert (
            f"grad_cam was built from '{other.name}', which shares no weights with the trained model '{eager.model.name}'"
            in message
        )
        assert "pass the method key 'grad_cam'" in message
    with pytest.raises(tfviz.OptionError, match="shares no weights with"):
        eager.fit(eager.callback(tmp_path / "strict", explainers=tfviz.GradCAM(other), strict=True))
    assert list((tmp_path / "strict").iterdir()) == []


class Unnamed:
    """A function with weights, but without any other attribute of a model."""

    variables = (tf.Variable(1.0),)

    def __call__(self, images: Any) -> Any:
        return tf.reduce_mean(images, (1, 2)) * self.variables[0]


def test_an_explainer_that_shares_weights_causes_no_warning(eager: Eager) -> None:
    model = eager.model
    features = keras.Model(model.inputs, model.get_layer("conv").output)
    whole = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(2.0), model])
    weightless = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
    module = tf.Module()
    module.kernel = model.get_layer("conv").kernel.value
    module.__class__ = type(
        "Called", (tf.Module,), {"__call__": lambda self, images: tf.nn.conv2d(images, self.kernel, 1, "SAME")}
    )
    pairs = [(model, features), (features, model), (model, whole), (whole, model), (model, module)]
    pairs += [(model, weightless), (model, lambda images: tf.reduce_mean(images, (1, 2))), (model, Unnamed())]
    for trained, explained in pairs:
        (method,) = named_methods([tfviz.Saliency(explained)], trained)
        assert unrelated_model_error(trained, method) is None, explained


def test_keys_explain_the_trained_model_and_names_are_unique(tmp_path: Path, eager: Eager) -> None:
    explainers = ["visual-backprop", eager.explainer, tfviz.GradCAM(eager.model)]
    eager.fit(eager.callback(tmp_path, explainers=explainers))
    methods = tfviz.runs.run_reader.read_run(tmp_path)["methods"]
    assert [method["name"] for method in methods] == ["visual_backprop", "grad_cam", "grad_cam-2"]
    assert [method["key"] for method in methods] == ["visual_backprop", "grad_cam", "grad_cam"]
    assert [method["title"] for method in methods] == ["VisualBackProp", "Grad-CAM (conv)", "Grad-CAM (conv)"]
    assert [method["layer"] for method in methods] == [None, "conv", "conv"]
    assert assert_complete(tmp_path)[-1]["methods"] == ["visual_backprop", "grad_cam", "grad_cam-2"]


def test_the_run_describes_its_model_labels_and_images(tmp_path: Path, eager: Eager) -> None:
    eager.fit(eager.callback(tmp_path / "first", labels=["a", "b", "c", "d"]))
    run = tfviz.runs.run_reader.read_run(tmp_path / "first")
    assert (run["name"], run["labels"], run["model"]) == ("first", ["a", "b", "c", "d"], eager.model.name)
    assert run["images"] == [{"height": 16, "width": 16}] * 2
    assert abs(run["started"] - time.time()) < 60
    image = tfviz.read_image(tmp_path / "first" / "images" / "1.png")
    np.testing.assert_array_equal(image, np.rint(eager.images[1] * 255).astype(np.uint8))


@pytest.mark.filterwarnings("ignore:The images have values")  # random noise
def test_each_class_of_a_sigmoid_unit_has_its_own_probability(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile("sgd", "binary_crossentropy", run_eagerly=True)
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    model.fit(images, np.zeros(6), verbose=0, callbacks=[SnapshotCallback("saliency", images, log_dir=tmp_path)])
    predictions = [(one["class"], one["score"]) for one in assert_complete(tmp_path)[-1]["predictions"]]
    outputs = model.predict(images, verbose=0)[:, 0]
    assert {name for name, _ in predictions} == {0, 1}
    for (name, score), output in zip(predictions, outputs, strict=True):
        assert score == pytest.approx(output if name == 1 else 1 - output, rel=1e-5)
        assert score >= 0.5


def test_no_snapshot_is_taken_without_training(tmp_path: Path, eager: Eager) -> None:
    eager.fit(eager.callback(tmp_path), initial_epoch=3, epochs=3)
    assert assert_complete(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"explainers": []}, tfviz.OptionError, "No explainers were given. Pass at least one"),
        ({"explainers": "gradcam"}, tfviz.UnknownMethodError, "Did you mean 'grad_cam'"),
        ({"explainers": [keras.layers.ReLU()]}, tfviz.OptionError, "Expected explainers, such as tfviz.GradCAM"),
        ({"every": 0}, tfviz.OptionError, "`every` must be 'epoch' or a positive number of batches. Received: 0"),
        ({"every": "batch"}, tfviz.OptionError, "`every` must be 'epoch' or a positive number of batches"),
        ({"every": True}, tfviz.OptionError, "`every` must be 'epoch' or a positive number of batches"),
        ({"max_queued": 0}, tfviz.OptionError, "`max_queued` must be a positive integer"),
        ({"max_images": 0}, tfviz.OptionError, "`max_images` must be a positive integer"),
        ({"token": "secret"}, tfviz.OptionError, "Pass the viewer's address too"),
        ({"sinks": [print]}, tfviz.OptionError, "instances of tfviz.Sink subclasses"),
        ({"sinks": None}, tfviz.OptionError, r"`sinks` must be a list, such as sinks=\[sink\]. Received: None"),
        ({"sinks": tfviz.Sink()}, tfviz.OptionError, r"`sinks` must be a list, such as sinks=\[sink\]"),
        ({"viewer": "http://host:1337", "token": 5}, tfviz.OptionError, "`token` must be a string of printable ASCII"),
        ({"tensorboard": 5}, tfviz.OptionError, "`tensorboard` must be True, False or a folder path. Received: 5"),
        ({"log_dir": None}, tfviz.OptionError, "`log_dir` must be the path of a folder, such as 'runs/1'. Received: None"),
        ({"target": [1, 2, 3]}, tfviz.TargetError, "one for each of the 2 images. Received: 3"),
        ({"labels": "nowhere.txt"}, tfviz.LabelsError, "nowhere.txt"),
    ],
)
def test_invalid_arguments_are_rejected_by_the_constructor(
    tmp_path: Path, eager: Eager, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        eager.callback(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"images": np.zeros((257, 16, 16, 3), np.float32), "max_images": 300}, tfviz.ImageError, "at most 256 images"),
        (
            {"images": np.zeros((1, 4097, 2, 3), np.float32)},
            tfviz.ImageError,
            "2 x 4097 pixels, but each side may have at most 4096",
        ),
        ({"pictures": np.zeros((2, 2, 4097, 3), np.uint8)}, tfviz.ImageError, "Image 0 has 4097 x 2 pixels"),
        ({"labels": ["short", "x" * 501]}, tfviz.LabelsError, "class 1 in `labels` has 501 characters, but at most 500"),
        ({"labels": ["x"] * 100_001}, tfviz.LabelsError, "at most 100000 labels"),
        ({"labels": ["x" * 500] * 20_000}, tfviz.LabelsError, "at most 7340032 bytes"),
        ({"explainers": ["grad_cam"] * 65}, tfviz.OptionError, "at most 64 explainers"),
    ],
)
def test_arguments_beyond_the_limits_of_a_run_are_rejected(
    tmp_path: Path, eager: Eager, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        eager.callback(tmp_path, **options)


def test_the_viewer_shows_a_run_at_the_limits(tmp_path: Path, eager: Eager) -> None:
    pytest.importorskip("fastapi")
    from tfviz.viewer.store import Store

    images = np.zeros((256, 16, 16, 3), np.float32)
    metrics = {f"{number:03d}" + "m" * 500: 0.5 for number in range(201)}
    many = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(metrics))
    callback = eager.callback(tmp_path, images=images, max_images=300, labels=["x" * 500] * 14_000)
    with pytest.warns(SnapshotWarning, match="The logs contain 203 numbers, but a snapshot keeps only the first 200"):
        eager.fit(many, callback)
    store = Store(tmp_path)
    store.find()
    (run,) = store.known()
    assert run.numbers == list(range(len(assert_complete(tmp_path)))) == [0, 1, 2]
    assert len(json.loads(run.lines[1])["logs"]) == 200


def test_images_and_targets_that_dont_fit_the_model_are_rejected_before_training(tmp_path: Path, eager: Eager) -> None:
    before = eager.model.get_weights()
    with pytest.raises(tfviz.TargetError, match="Target 9 is out of range"):
        eager.fit(eager.callback(tmp_path / "a", target=9))
    with pytest.raises(tfviz.ImageError, match="needs images"):
        eager.fit(eager.callback(tmp_path / "b", images=np.zeros((2, 9, 9, 3), np.float32)))
    for was, now in zip(before, eager.model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
