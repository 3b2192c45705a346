"""The order that a canvas was filled in: from traces and files, and what it measures.

Nothing here decodes or draws.
"""
