"""Each metric against an independent, slow implementation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from support.classifiers import COLOR, case, classifier, logit_of, probability_of, scored, value
from support.reference import metrics as slow

from tfviz.metrics.average_drop import AverageDrop
from tfviz.metrics.deletion_insertion import DeletionInsertion, blurred
from tfviz.metrics.imputation import imputed
from tfviz.metrics.mass_in_region import MassInRegion
from tfviz.metrics.max_sensitivity import MaxSensitivity
from tfviz.metrics.mu_fidelity import MuFidelity
from tfviz.metrics.pixel_maps import pixel_map
from tfviz.metrics.pixel_order import descending
from tfviz.metrics.pointing_game import PointingGame, is_difficult
from tfviz.metrics.rank_correlation import average_ranks, spearman
from tfviz.metrics.regions import Regions
from tfviz.metrics.road import Road
from tfviz.metrics.single_deletion import SingleDeletion

TOLERANCE = 1e-4
TARGET = 1
SIZE = (13, 17)
random = np.random.default_rng(0)
IMAGE = random.normal(size=(*SIZE, 3)).astype(np.float32)
MAPS = {
    "signed": random.normal(size=SIZE).astype(np.float32),
    "tied": np.round(random.normal(size=SIZE)).astype(np.float32),
    "sparse": np.where(random.random(SIZE) < 0.8, 0, random.random(SIZE)).astype(np.float32),
}
every_map = pytest.mark.parametrize("name", MAPS)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return classifier()


@pytest.fixture(scope="module")
def logits() -> keras.Model:
    return classifier(None)


@every_map
def test_deletion_and_insertion(model: keras.Model, name: str) -> None:
    one, p = case(model, IMAGE, MAPS[name]), probability_of(model, TARGET)
    ranked, scores = slow.order(MAPS[name], one.permutation), scored(model, DeletionInsertion(), one)
    want = slow.deletion(p, IMAGE, ranked, COLOR), slow.insertion(p, IMAGE, ranked)
    assert scores["deletion"].value == pytest.approx(want[0], abs=TOLERANCE)
    assert scores["insertion"].value == pytest.approx(want[1], abs=TOLERANCE)
    assert scores["insertion_minus_deletion"].value == pytest.approx(want[1] - want[0], abs=TOLERANCE)


def test_the_blur_of_insertion() -> None:
    np.testing.assert_allclose(blurred(IMAGE), slow.blur(IMAGE), atol=TOLERANCE)


@every_map
def test_road(model: keras.Model, name: str) -> None:
    one, metric = case(model, IMAGE, MAPS[name]), Road(noise=1.0)
    ranked = slow.order(MAPS[name], one.permutation)
    want = slow.road(probability_of(model, TARGET), IMAGE, ranked, lambda number: metric._noise(one, number))
    assert value(model, metric, one) == pytest.approx(want, abs=TOLERANCE)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_conjugate_gradients_solve_the_dense_equations(share: float) -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(size=(3, 16, 16, 2)).astype(np.float32)
    removed = rng.random((3, 16, 16)) < share
    removed[0, 2:14, 2:14] = True
    removed[:, 0, 0] = False  # one pixel is always kept
    got = imputed(images, removed)
    for image, holes, result in zip(images, removed, got, strict=True):
        np.testing.assert_allclose(result, slow.imputed(image, holes), atol=TOLERANCE)
        assert np.array_equal(result[~holes], image[~holes])


@pytest.mark.parametrize("size", [(96, 96), (61, 83)])
@pytest.mark.parametrize("is_inside", [True, False])
def test_large_holes_meet_the_equations(size: tuple[int, int], is_inside: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*size, 2)).astype(np.float32)
    y, x = np.mgrid[: size[0], : size[1]]
    removed = (np.hypot(y - 30, x - 40) < 28) == is_inside
    result = imputed(image[None], removed[None])[0].astype(np.float64)
    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    around = np.pad(result, [(1, 1), (1, 1), (0, 0)])
    inside = np.pad(np.ones(size), 1)
    parts = [(weights[i, j], slice(i, i + size[0]), slice(j, j + size[1])) for i in range(3) for j in range(3)]
    total = sum(w * around[rows, columns] for w, rows, columns in parts)
    s = sum(w * inside[rows, columns] for w, rows, columns in parts)
    assert abs(s[..., None] * result - total)[removed].max() < 1e-5


def test_an_image_is_imputed_the_same_in_any_batch() -> None:
    rng = np.random.default_rng(1)
    images, removed = rng.normal(size=(5, 16, 16, 3)).astype(np.float32), rng.random((5, 16, 16)) < 0.7
    removed[0] = rng.random((16, 16)) < 0.05  # is done long before the others
    np.testing.assert_allclose(imputed(images, removed)[:1], imputed(images[:1], removed[:1]), atol=1e-6)


@every_map
def test_single_deletion(logits: keras.Model, name: str) -> None:
    one = case(logits, IMAGE, MAPS[name])
    want = slow.subset_correlation(logit_of(logits, TARGET), IMAGE, MAPS[name], COLOR, 4, [[i] for i in range(16)])
    assert value(logits, SingleDeletion(), one) == pytest.approx(want, abs=TOLERANCE)


@every_map
def test_mu_fidelity(logits: keras.Model, name: str) -> None:
    subsets = np.array([np.random.default_rng(i).permutation(81) < 16 for i in range(20)])
    want = slow.subset_correlation(
        logit_of(logits, TARGET), IMAGE, MAPS[name], COLOR, 9, [list(np.flatnonzero(subset)) for subset in subsets]
    )
    assert value(logits, MuFidelity(subsets=subsets), case(logits, IMAGE, MAPS[name])) == pytest.approx(want, abs=TOLERANCE)


@every_map
@pytest.mark.parametrize("tolerance", [1, 3, 15])
def test_the_pointing_game(model: keras.Model, name: str, tolerance: int) -> None:
    size = (29, 23)  # the original image has another size
    for box in ([0, 0, 4, 5], [15, 8, 20, 20], [20, 25, 23, 29]):
        regions = Regions({TARGET: [box]}, size)
        want = slow.is_hit(slow.resized(MAPS[name], size), regions.mask(TARGET), tolerance)
        assert value(model, PointingGame(tolerance), case(model, IMAGE, MAPS[name], regions=regions)) == want


@pytest.mark.parametrize(("tolerance", "expected"), [(5, 0), (5.01, 1)])
def test_a_point_must_be_closer_than_the_tolerance(model: keras.Model, tolerance: float, expected: float) -> None:
    values = np.zeros(SIZE, np.float32)
    values[2, 3] = 1
    regions = Regions({TARGET: [[7, 5, 17, 13]]}, SIZE)  # 3 rows and 4 columns away
    assert value(model, PointingGame(tolerance), case(model, IMAGE, values, regions=regions)) == expected


@pytest.mark.parametrize(
    ("classes", "is_hard"),
    [
        ({1: [[0, 0, 6, 6]]}, False),  # alone
        ({1: [[0, 0, 6, 6]], 2: [[8, 8, 9, 9]]}, True),
        ({1: [[0, 0, 10, 5]], 2: [[8, 8, 9, 9]]}, False),  # exactly a quarter
        ({1: [[0, 0, 6, 6], [0, 0, 6, 6]], 2: [[8, 8, 9, 9]]}, False),  # the boxes add up to more
        ({1: np.arange(200).reshape(10, 20) < 49, 2: [[8, 8, 9, 9]]}, True),
    ],
)
def test_difficult_pairs_are_small_and_not_alone(classes: dict, is_hard: bool) -> None:
    assert is_difficult(Regions(classes, (10, 20)), 1) == is_hard


@every_map
def test_the_mass_in_the_region(model: keras.Model, name: str) -> None:
    size = (29, 23)
    regions = Regions({TARGET: [[3, 4, 12, 20]], 2: [[10, 2, 20, 20]], 3: [[0, 0, 5, 5]]}, size)
    scores = scored(model, MassInRegion(), case(model, IMAGE, MAPS[name], regions=regions))
    large = slow.resized(MAPS[name], size)
    assert scores["mass_in_region"].value == pytest.approx(slow.mass(large, regions.mask(TARGET)), abs=TOLERANCE)
    others = regions.mask(2) | regions.mask(3)
    assert scores["mass_on_other"].value == pytest.approx(slow.mass(large, others), abs=TOLERANCE)


@every_map
def test_the_average_drop(model: keras.Model, name: str) -> None:
    scores = scored(model, AverageDrop(), case(model, IMAGE, MAPS[name]))
    want = slow.drop_increase_gain(probability_of(model, TARGET), IMAGE, MAPS[name])
    assert [score.value for score in scores.values()] == pytest.approx(want, abs=TOLERANCE)


def test_max_sensitivity(model: keras.Model) -> None:
    """For a map that is linear in the image, the change is the map of the noise."""
    seen: list[np.ndarray] = []

    def explain(images: np.ndarray) -> list:
        seen.extend(images)
        return [pixel_map(image.sum(-1)) for image in images]

    got = value(model, MaxSensitivity(), case(model, IMAGE, IMAGE.sum(-1), explain=explain))
    norm = np.sqrt((IMAGE.sum(-1) ** 2).sum())
    assert got == pytest.approx(max(np.sqrt(((image - IMAGE).sum(-1) ** 2).sum()) / norm for image in seen), rel=1e-3)
    largest = max(abs(image - IMAGE).max() for image in seen)
    assert len(seen) == 10
    assert largest == pytest.approx(0.02 * (IMAGE.max() - IMAGE.min()), rel=0.05)


@every_map
def test_the_order_of_pixels(model: keras.Model, name: str) -> None:
    one = case(model, IMAGE, MAPS[name])
    assert descending(one.map, one.size, one.permutation).tolist() == slow.order(MAPS[name], one.permutation)


@pytest.mark.parametrize("size", [(29, 23), (5, 4), (13, 30)])
def test_maps_are_resized_with_half_pixel_centers(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(pixel_map(MAPS["signed"]).resized(size), slow.resized(MAPS["signed"], size), atol=TOLERANCE)


def test_the_rank_correlation() -> None:
    a, b = [1.0, 2.0, 2.0, -3.0, 5.0], [2.0, 1.0, 7.0, 7.0, 7.0]
    assert average_ranks(np.array(a)).tolist() == slow.ranks(a)
    assert spearman(np.array(a), np.array(b)) == pytest.approx(slow.spearman(a, b))
    assert spearman(np.ones(5), np.array(b)) == 0
    assert spearman(np.array([*a[:4], np.nan]), np.array(b)) == 0
