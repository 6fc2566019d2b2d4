"""The live page: a small server that shows the snapshots of runs while they train, and afterwards.

forms      what a run and a record may look like
pictures   what a PNG may look like
runs       one run: its folder, and its records in memory
store      all the runs of a folder
receiving  what trainers send, written into the folder
following  looking again and again for what is new
events     telling the pages
bodies     reading what is sent, within limits
guard      who may ask, and the headers of every answer
api        the addresses
assets     the page itself
server     all of it together, running
"""
