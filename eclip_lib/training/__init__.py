"""Training: one record an epoch, on one process or many, going on where it was stopped.

objective: what a batch minimizes     loop: `fit`               schedule: seeds, rates
distributed: devices and processes    scoring: scores of all    tensorboard_logs: on request
checkpoints: a finished model         keeper: the states of a run that goes on
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
