"""Explain millions of images in shards, using several processes or machines.

A job is a folder, local or in an object store:

    job.json              the workers' arguments, and the settings that determine the results
    inputs/000.parquet    the images, one row group per shard
    shards/part-000123.parquet    the results of shard 123; the shard is done if this file exists
    attempts/             one file per attempt at a shard that is not done
    report.json           the job's progress
    _SUCCESS              written when every shard is done

    storage.py     reads and writes files in a folder or an object store
    inputs.py      lists the images in folders, globs, lists, TFRecord and tar files
    plan.py        reads and writes job.json and divides the job into shards
    schema.py      defines the result columns
    shard_work.py  computes the result rows
    shards.py      runs one shard
    attempts.py    handles shards that kill their process
    engines/       run shards in local processes or with Ray
    report.py      reports the progress
"""
