"""The run folder, written by SnapshotCallback and read by the viewer, films and uploads.

schema         defines all fields with their types and limits
validation     checks values against the schema
layout         defines the path of each file
regular_files  opens regular files, never pipes or devices
png            checks uploaded PNG images
run_reader     reads a run, even while it grows
index          appends to the index
folder_lock    allows one writer at a time
run_folder     writes a run
snapshot       defines a snapshot as stored in the folder

Reading a run requires neither TensorFlow nor NumPy.
"""
