"""The explorer: a page that explains images with one model, interactively.

limits           limits on sizes and counts
image_store      the images of a folder, and those that pages upload
network          the model: its classes, and the methods and layers that work on it
explainer_cache  the explainers used last
turns            runs one computation at a time, in a worker thread
recipe           what a page asks for: an image, a method, a layer and a target
map_cache        computes maps, and keeps those used last
python_lines     the Python code that makes a map
session          all of these, for one server
api              the routes
app              the ASGI application
server           runs the application

The server, the guard and the style of the page are those of `tfviz.viewer`.
"""
