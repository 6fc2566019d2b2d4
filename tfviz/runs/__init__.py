"""The run folder: what SnapshotCallback writes, and the viewer, the film, TensorBoard and uploads
read.

schema         every field, its type and its limits
validation     whether a value conforms to the schema
layout         which file is where
regular_files  opening files, never pipes or devices
run_reader     reading a run, also while it grows
index          adding to the index
folder_lock    one writer at a time
run_folder     writing a run
snapshot       a snapshot as the folder keeps it

Reading needs neither TensorFlow nor NumPy.
"""
