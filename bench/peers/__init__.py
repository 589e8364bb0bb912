"""The libraries that are measured beside this one: one small driver each, run by its own environment's Python.

`protocol` is what all drivers speak and imports the standard library alone; `convert` makes every library's
model folder from one and the same checkpoint, in the bench's own environment.
"""
