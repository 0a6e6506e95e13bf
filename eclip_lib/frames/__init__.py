"""From a recording to what an encoder sees: windows, event count maps, colors, frames.

windows: which events make a frame          counting: count maps (ECM)
colors, drawing: count maps as frames      resizing: to the pixels of a backbone
augmentation: frames are moved             export: PNG, GIF, MP4
saturation: what a color hides              official_traps: what the official code does to frames
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
