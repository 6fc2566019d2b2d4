"""The live page: a small server that shows the snapshots of runs during and after training.

limits       limits on sizes, counts and times
known_run    one run: its folder, and its records in memory
store        all runs in a folder
uploads      stores the snapshots that training runs send
polling      looks for new runs and snapshots
events       notifies the pages
bodies       reads request bodies within the limits
connections  limits connections and their idle time
guard        access control, and the headers of every response
http_errors  error responses
log          the server's log
api          the routes
assets       the page's files, and their routes
guarded_app  builds an application with access control from a page's routes
page_server  serves an application with access control
app          the live page's application
server       serves the live page

`tfviz.runs.schema` defines the format of runs and records.
"""
