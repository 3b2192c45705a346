"""Accuracy and order of models, policies and paces on a task: a sweep, its rows and its summary.

Nothing here draws; the report does.
"""
