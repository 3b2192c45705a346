"""The Python interface: `nap.decode`, `nap.evaluate`, what they return, and how that looks in a notebook.

Does not compute anything. Only `nap/__init__.py` and the commands import it.
"""
