"""How like a real event camera the simulated one is.

pairs: stills with their real recordings     profiles: what a set of recordings is like, and how far two are apart
fitting: the fit of the camera               tables, plots: what came of it
simulated_training: does a network that saw only simulated recordings know real ones?
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
