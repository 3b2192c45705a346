"""What a person looks at: the page, its figures, and the canvas in a terminal.

Nothing here computes a metric.
"""
