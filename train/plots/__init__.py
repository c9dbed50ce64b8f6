"""Figures of finished runs; ``run.py`` decides which figures a run has.

This depends on what an environment shows (positions in its infos, the components of its tasks,
integer observations if tasks are cells), never on its id.
"""
