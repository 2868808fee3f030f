"""When a model gets better at math, what happens to everything else?"""

__version__ = "0.1.0"
