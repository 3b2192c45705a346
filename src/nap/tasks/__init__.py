"""Where problems come from, and when an answer to one is right: one file a task, and the reading of answers.

Nothing here decodes or trains.
"""
