"""What notebooks show: plots, the encoder's inside, the explorer.

plots: training and results      event_plots: recordings      runs: one run
inside/: the event encoder looked into
samples, timeline: recordings to look at     explorer/, widgets: what is alive in a notebook
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
