"""The saccade camera: simulated recordings of stills.

simulation: `SaccadeCamera`      gaze: how it moves      pixels: how its pixels fire
stills: images of any kind       folder: a folder of images becomes a data set
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
