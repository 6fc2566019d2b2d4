"""The run folder, which SnapshotCallback writes and the viewer, films and uploads read.

schema         all fields with their types and limits
validation     checks values against the schema
layout         where each file is
regular_files  opens regular files, never pipes or devices
run_reader     reads a run, even while it grows
index          appends to the index
folder_lock    one writer at a time
run_folder     writes a run
snapshot       a snapshot as stored in the folder

Reading needs neither TensorFlow nor NumPy.
"""
