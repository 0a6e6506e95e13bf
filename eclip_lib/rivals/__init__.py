"""What E-CLIP has to beat, a file a method.

zero_shot: plain CLIP on the frames
probe: logistic regression on frozen features or count maps
small_network: a small network on count maps
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
