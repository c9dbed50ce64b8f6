"""Pictures of finished runs; ``draw.py`` decides which of them a run can have.

A picture is chosen by what an environment shows (positions in its infos, the components of its
tasks, whole-number observations where these are cells), never by its id.
"""
