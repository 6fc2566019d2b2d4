"""Large jobs: explain millions of images in shards, on several processes or machines.

A job is a folder, local or in an object store:

    job.json              what runs: the fingerprint of model, methods and options
    inputs/000.parquet    the images, one row group per shard
    shards/part-000123.parquet    the results of shard 123; the shard is done if it exists
    attempts/             shards that have started but not ended
    report.json, _SUCCESS written when every shard is done

    storage.py     files in a folder or an object store
    inputs.py      from folders, globs, lists, TFRecord and tar files to a list of images
    plan.py        job.json, and the shards
    schema.py      the columns of the results
    shard_work.py  from one shard to its results
    attempts.py    shards that kill their process
    engines/       who works on the shards: local processes, Ray
    report.py      what is done
"""
