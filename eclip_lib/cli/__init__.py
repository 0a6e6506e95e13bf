"""The command line, a file a command; `main`, in `program`, is `eclip`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
