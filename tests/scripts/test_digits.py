"""Digits: images of one and of two, the network, and the contrastive map of each digit."""

from __future__ import annotations

import sys
from typing import Any

import digits
import numpy as np
import pytest
from digits import Digits, double_pictures, share_in_half, single_pictures

import tfviz
from tfviz.errors import MissingPackageError


def flat_digits(count: int = 50) -> Digits:
    """Return digits whose pixels all have a value that identifies their label."""
    labels = np.arange(count) % 10
    return Digits(np.tile((0.1 * labels + 0.1)[:, None, None], (1, 4, 4)).astype(np.float32), labels, "flat")


def test_a_single_digit_is_left_or_right_in_noise() -> None:
    bright = Digits(np.ones((10, 4, 4), np.float32), np.arange(10), "white")
    pictures, labels = single_pictures(bright, 200, seed=0)
    assert pictures.shape == (200, 4, 8, 1) and labels.shape == (200,) and set(labels) == set(range(10))
    left, right = (pictures[:, :, half].min((1, 2, 3)) == 1 for half in (slice(0, 4), slice(4, 8)))
    assert (left != right).all() and 50 < left.sum() < 150
    rest = np.where(left[:, None, None, None], pictures[:, :, 4:], pictures[:, :, :4])
    assert 0 < rest.min() < rest.max() < 0.8


def test_two_digits_differ_and_are_in_the_order_of_their_labels() -> None:
    data = flat_digits()
    pictures, labels = double_pictures(data, 100, seed=0)
    assert pictures.shape == (100, 4, 8, 1) and labels.shape == (100, 2)
    assert (labels[:, 0] != labels[:, 1]).all()
    for half in (0, 1):
        least = pictures[:, :, 4 * half : 4 * half + 4].min((1, 2, 3))
        bright = labels[:, half] > 1  # brighter than the noise
        np.testing.assert_allclose(least[bright], 0.1 * labels[bright, half] + 0.1, rtol=1e-5)


def test_a_seed_reproduces_the_images() -> None:
    for make in (single_pictures, double_pictures):
        first, again, other = (make(flat_digits(), 5, seed)[0] for seed in (1, 1, 2))
        assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_held_out_digits_are_not_in_the_training_set() -> None:
    train, test = flat_digits(20).split()
    assert (len(train.images), len(test.images)) == (16, 4)
    assert np.array_equal(test.labels, [0, 5, 0, 5])


def test_the_fraction_in_a_half_is_relative_to_the_whole_map() -> None:
    maps = np.zeros((2, 4, 8))
    maps[0, :, :4], maps[0, :, 4:] = 3, 1
    assert np.array_equal(share_in_half(maps, 0), [0.75, 0]) and np.array_equal(share_in_half(maps, 1), [0.25, 0])


def without_network(monkeypatch: Any) -> None:
    monkeypatch.setattr(digits, "_mnist", lambda: None)


def test_mnist_is_used_if_keras_has_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(digits, "_mnist", lambda: (np.full((3, 28, 28), 255, np.uint8), np.arange(3, dtype=np.uint8)))
    data = digits.load_digits()
    assert data.source.startswith("MNIST") and data.images.max() == 1 and data.images.shape == (3, 28, 28)


def test_a_download_that_fails_or_hangs_is_abandoned(monkeypatch: Any) -> None:
    import threading

    from keras.datasets import mnist

    monkeypatch.setattr(digits, "_FETCH_TIMEOUT_S", 0.2)
    for fetch in (lambda: 1 / 0, lambda: threading.Event().wait(1)):
        monkeypatch.setattr(mnist, "load_data", fetch)
        assert digits._mnist() is None


def test_without_any_digits_the_error_names_the_install_command(monkeypatch: Any) -> None:
    without_network(monkeypatch)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackageError, match=r"Run: pip install scikit-learn"):
        digits.load_digits()


def test_the_contrastive_map_is_on_the_explained_digit(monkeypatch: Any) -> None:
    pytest.importorskip("sklearn")
    without_network(monkeypatch)
    data = digits.load_digits()
    assert "because MNIST cannot be downloaded" in data.source and 0.9 < data.images.max() <= 1
    training, held_out = data.split()
    model = digits.train(training, epochs=6)
    assert model.evaluate(*single_pictures(held_out, 500, 1), verbose=0)[1] > 0.85
    pictures, labels = double_pictures(held_out, 200, 2)
    shares = {}
    for method in (tfviz.ExcitationBackprop, tfviz.ContrastiveExcitationBackprop):
        maps = [np.asarray(method(model)(pictures, labels[:, half])) for half in (0, 1)]
        shares[method.key] = np.mean([share_in_half(maps[half], half) for half in (0, 1)])
    assert abs(shares["excitation_backprop"] - 0.5) < 0.05
    assert shares["contrastive_excitation_backprop"] > 0.7
