"""The package as Python meets it: `nap.decode`, `nap.evaluate`, what they return, and how that looks in a notebook.

Does not compute anything, and is imported by no room: `nap/__init__.py` and the commands alone use it.
"""
