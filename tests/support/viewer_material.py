"""A trainer that sends to a viewer, and waiting for conditions, for the tests of both."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from support.fake_runs import METHODS, image_of, map_of, png_of, record_of, run_of

TIMEOUT_S = 60.0  # generous, because the machine may be busy


def until(is_so: Callable[[], Any], what: str) -> Any:
    """Wait for a condition, and return its value."""
    end_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end_s:
        if found := is_so():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {TIMEOUT_S:.0f} s: {what}")


class Sender:
    """A trainer on another machine that sends a run by the protocol."""

    def __init__(self, client: httpx.Client, id: str, **fields: Any) -> None:
        self.client, self.id, self.run = client, id, run_of(id, **fields)
        self.number = 0

    def put(self, path: str = "", **body: Any) -> httpx.Response:
        return self.client.put(f"/api/runs/{self.id}{path}", **body)

    def state(self) -> dict[str, int]:
        return self.client.get(f"/api/runs/{self.id}/state").json()

    def open(self) -> None:
        assert self.put(json=self.run).status_code == 204
        for image in range(len(self.run["images"])):
            assert self.put(f"/images/{image}.png", content=png_of(image_of(image))).status_code == 204

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            for method, (key, _) in enumerate(METHODS):
                for image in range(len(self.run["images"])):
                    picture = png_of(map_of(image, self.number, method))
                    assert self.put(f"/pictures/{self.number}/{key}/{image}.png", content=picture).status_code == 204
            assert self.put(f"/snapshots/{self.number}", json=record_of(self.number)).status_code == 204
            self.number += 1
