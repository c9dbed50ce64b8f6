"""Pictures of finished runs; ``draw.py`` decides which of them a run can have.

A picture is chosen by what an environment shows (a 2-D whole-number observation, positions in its
infos, the components of its tasks), never by its id.
"""
