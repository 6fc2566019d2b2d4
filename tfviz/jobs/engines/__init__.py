"""Engines that run a job's shards. To add an engine, add its module and an entry in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tfviz.jobs.engines.crew import Crew
from tfviz.jobs.engines.local_processes import run_locally
from tfviz.jobs.engines.ray_actors import run_on_ray

# Runs the shards and yields the number of images in each finished shard.
Engine = Callable[[Crew, Sequence[int]], Iterator[int]]

ENGINES: dict[str, Engine] = {"local": run_locally, "ray": run_on_ray}
