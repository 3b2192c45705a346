"""What every folder needs: files that are whole or absent, run folders, statistics, workers, the machine at hand.

Nothing here knows of models, tasks or canvases.
"""
