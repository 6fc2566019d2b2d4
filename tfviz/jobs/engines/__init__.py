"""Who works on the shards of a job. To add an engine, add its file and its row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tfviz.jobs.engines.crew import Crew
from tfviz.jobs.engines.local_processes import run_locally
from tfviz.jobs.engines.ray_actors import run_on_ray

# (crew, shards) -> the number of images of each shard that is done
Engine = Callable[[Crew, Sequence[int]], Iterator[int]]

ENGINES: dict[str, Engine] = {"local": run_locally, "ray": run_on_ray}
