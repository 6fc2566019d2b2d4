"""The live page: a small server that shows the snapshots of runs while they train, and afterwards.

limits       how much is taken
png          what a PNG may look like
known_run    one run: its folder, and its records in memory
store        all the runs of a folder
uploads      what trainers send, written into the folder
polling      looking again and again for what is new
events       telling the pages
bodies       reading what is sent, within limits
connections  how many there may be, and for how long they may be silent
guard        who may ask, and the headers of every answer
http_errors  answers other than success
log          one line for each of them
api          the addresses
assets       the page itself
app          all of it as an ASGI application
server       the same, running

What a run and a record may look like is stated in `tfviz.runs.schema`.
"""
