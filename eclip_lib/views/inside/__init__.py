"""The event encoder looked into: its stages one by one, where attention goes, what training moved.

stages: a recording on its way through     attention: where it goes, what prompts change
before_after: what training moved          tables: parameters, recipes     plots: their figures
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
