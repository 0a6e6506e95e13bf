"""CLIP itself: any open_clip model with a plain ViT image tower, or the embedded tiny one.

backbone: `load_clip`     weights: files of weights and folders of the hub's cache
tiny: the embedded CLIP   words: which words it has met
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
