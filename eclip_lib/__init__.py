"""E-CLIP workbench: CLIP for event cameras (arXiv 2308.03135), as a small library behind notebooks.

What most programs need can be imported from here; the rest from the wing that it belongs to
(`from eclip_lib.frames import frame_maps`). Nothing heavy is loaded before it is used.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
