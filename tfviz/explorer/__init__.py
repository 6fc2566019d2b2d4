"""The explorer: an interactive page that explains images with one model.

limits           limits on sizes and counts
image_store      the images from a folder and from uploads
network          the model: its classes, and the methods and layers that it supports
explainer_cache  the most recently used explainers
turns            runs one computation at a time, in a worker thread
recipe           the request for a map: an image, a method, a layer and a target
map_cache        computes maps, and keeps the most recently used ones
python_lines     the Python code that computes a map
session          the state of one server
api              the routes
app              the ASGI application
server           runs the application

The explorer uses the server, the guard and the style sheet of `tfviz.viewer`.
"""
