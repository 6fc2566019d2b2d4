"""Explain millions of images in shards, with several processes or machines.

A job is a folder, local or in an object store:

    job.json              the worker arguments and the fingerprint of model, methods and options
    inputs/000.parquet    the images, one row group per shard
    shards/part-000123.parquet    the results of shard 123; the shard is done if it exists
    attempts/             shards that have started but not finished
    report.json           the job's progress
    _SUCCESS              written when every shard is done

    storage.py     reads and writes files in a folder or an object store
    inputs.py      lists the images in folders, globs, lists, TFRecord and tar files
    plan.py        reads and writes job.json and divides the job into shards
    schema.py      defines the columns of the results
    shard_work.py  computes the rows of results
    shards.py      runs one shard
    attempts.py    handles shards that kill their process
    engines/       run shards in local processes or with Ray
    report.py      reports the progress
"""
