"""evalh: fine-tune, keep the prompt, or retrain? Answered with evidence.

>>> import evalharness
>>> evalharness.__version__
'0.1.0'
"""

__version__ = "0.1.0"
