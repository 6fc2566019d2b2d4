"""
Ten million images
==================

``tfviz job`` writes tables instead of pictures: one row per image, class and method. A job can be
stopped and resumed, and several machines can share it. Here, the job explains a dozen images, but
the command for ten million is the same.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.dataset

import tfviz
from tfviz.cli.main import main
from tfviz.shapes import SAMPLES_DIR

results = Path(tempfile.mkdtemp()) / "results"

# %%
# Start the job. In a terminal, this is ``tfviz job photos --method grad_cam --output results``.
# Each shard becomes one file when it is complete, so a stopped job loses at most one shard.

main(["job", str(SAMPLES_DIR), "--method", "grad_cam", "--output", str(results)])
print(sorted(str(path.relative_to(results)) for path in results.rglob("*.parquet")))

# %%
# Read the columns that you need. The maps are stored as float16 bytes at their original resolution.

table = pyarrow.dataset.dataset(results / "shards").to_table(columns=["path", "target_name", "map", "map_shape"])
rows = table.to_pylist()
for row in rows[:3]:
    print(Path(row["path"]).name, row["target_name"], row["map_shape"])

# %%
# How concentrated are the maps? The table is enough to compute the share of each map's sum that
# lies in its strongest tenth.


def concentration(row):
    found = np.sort(np.frombuffer(row["map"], np.float16).astype("float32"))
    return found[-len(found) // 10 :].sum() / max(found.sum(), 1e-9)


rows.sort(key=concentration)
for row in (rows[0], rows[-1]):
    print(f"{Path(row['path']).name}: {concentration(row):.0%} of the map in a tenth of its area")

# %%
# Draw only the rows that you want to see.

images = tfviz.load_images([SAMPLES_DIR / Path(row["path"]).name for row in (rows[0], rows[-1])], tfviz.load_model("shapes"))
maps = np.stack([np.frombuffer(row["map"], np.float16).reshape(row["map_shape"]) for row in (rows[0], rows[-1])])
figure = tfviz.plot(images, {"grad_cam": maps.astype("float32")}, captions=["least concentrated", "most concentrated"])
figure

# %%
# On a cluster, give each task a part of the shards. Run the same command again to resume.
#
# .. code-block:: console
#
#    tfviz job photos --model resnet50 --output results --shards 1/64
#    tfviz job status results
#
# :doc:`/jobs` covers Slurm, Kubernetes, Ray, Spark and object stores.
