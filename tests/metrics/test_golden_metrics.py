"""The metrics against float64 scores of stored maps on small networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.golden import GOLDEN
from support.golden_metrics import stored_scores

from tfviz.metrics.controls import random
from tfviz.metrics.deletion_insertion import DeletionInsertion, blurred
from tfviz.metrics.imputation import imputed
from tfviz.metrics.mass_in_region import MassInRegion, area, mass
from tfviz.metrics.metric import Metric
from tfviz.metrics.mu_fidelity import MuFidelity
from tfviz.metrics.pixel_order import descending
from tfviz.metrics.pointing_game import PointingGame, point
from tfviz.metrics.road import Road
from tfviz.metrics.single_deletion import SingleDeletion

TOLERANCE = 1e-4


def close(got: object, want: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0, atol=TOLERANCE)


def values(stored, metric: Metric, name: str, key: str) -> list[float]:
    return [scores[key].value for scores in stored.scores(metric, name)]


@pytest.mark.parametrize("name", GOLDEN)
class TestStoredScores:
    def test_blank_maps_are_recognized(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for which in stored.maps:
            assert [case.map.is_blank for case in stored.cases(which)] == list(stored.arrays[f"blank/{which}"] == 1)

    def test_deletion_and_insertion(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for which in stored.maps:
            scores = stored.scores(DeletionInsertion(), which)
            for key in ("deletion", "insertion", "insertion_minus_deletion"):
                close([one[key].value for one in scores], stored.arrays[f"{key}/{which}"])
            for key in ("deletion", "insertion"):
                close([one[key].curve[:, 1] for one in scores], stored.arrays[f"{key}/curve/{which}"])

    def test_the_blurred_start_of_insertion(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        close([blurred(image) for image in stored.images], stored.arrays["insertion/start"])

    def test_road(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for which in stored.maps:
            scores = stored.scores(Road(noise=0), which)
            close([one["road"].value for one in scores], stored.arrays[f"road/{which}"])
            gaps = (stored.arrays[f"road/lerf/{which}"] - stored.arrays[f"road/morf/{which}"]) / 2
            close([one["road"].curve[:, 1] for one in scores], gaps)

    def test_imputed_images(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for case, want in zip(stored.cases("saliency"), stored.arrays["road/imputed"], strict=True):
            order = descending(case.map, case.size, case.permutation)
            removed = np.zeros(case.size, bool)
            removed.reshape(-1)[order[: round(0.5 * len(order))]] = True
            np.testing.assert_allclose(imputed(case.image[None], removed[None])[0], want, rtol=0, atol=TOLERANCE)

    def test_single_deletion(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for which in stored.maps:
            close(values(stored, SingleDeletion(), which, "single_deletion"), stored.arrays[f"single_deletion/{which}"])

    def test_the_drops_of_single_deletion(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for i, case in enumerate(stored.cases("saliency")):
            outputs = stored.model.one_class(SingleDeletion().perturbed(case), case.target)
            want = stored.arrays["single_deletion/drops"][i]
            np.testing.assert_allclose(case.logit - outputs.logits, want, rtol=0, atol=TOLERANCE * max(1, abs(want).max()))

    def test_mu_fidelity(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        metric = MuFidelity(subsets=stored.arrays["mu_fidelity/subsets"])
        for which in stored.maps:
            close(values(stored, metric, which, "mu_fidelity"), stored.arrays[f"mu_fidelity/{which}"])

    @pytest.mark.parametrize("tolerance", [15, 5])
    def test_the_pointing_game(self, name: str, tolerance: int, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for which in stored.maps:
            got = values(stored, PointingGame(tolerance), which, "pointing_game")
            close(got, stored.arrays[f"pointing_{tolerance}/{which}"])
            points = [(-1, -1) if case.map.is_blank else point(case.map.values) for case in stored.cases(which)]
            assert np.array_equal(points, stored.arrays[f"pointing/point/{which}"])

    def test_the_mass_in_the_region(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        for which in stored.maps:
            close(values(stored, MassInRegion(), which, "mass_in_region"), stored.arrays[f"mass/{which}"])
            close(values(stored, MassInRegion(), which, "mass_on_other"), stored.arrays[f"mass_other/{which}"])

    def test_the_share_of_the_area(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        shares = [mass(area(case.image, case.permutation), case.regions.mask(0)) for case in stored.cases("saliency", True)]
        close(shares, stored.arrays["area_share"])

    def test_the_random_control_scores_like_a_blank_map(self, name: str, shared: Path) -> None:
        stored = stored_scores(shared, name)
        (case, *_) = stored.cases("constant")
        control = random(case.image, case.permutation)
        assert np.array_equal(descending(control, case.size, case.permutation), stored.arrays["permutation"])
