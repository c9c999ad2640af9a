"""Models answer requests: on this machine, from a file of outputs that exist already, or as a rehearsal.

>>> from evalharness.models.rehearsal import RehearsalModel
>>> RehearsalModel(RehearsalModel.Options()).identity()
{'name': 'echo', 'seed': '0'}
"""
