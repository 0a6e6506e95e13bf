"""Data sets: as they lie on disk, how protocols split them, and what the towers are fed.

loading: `load_dataset` by id            sets/: a file a data set     recordings: what each of them becomes
splits: protocols     shots: published few-shot lists     embedded_stills: icons100 and icons_open
check: is a folder complete?             shards: data sets in a few large files
inputs: frames and features, computed once     streaming: recordings that are too many to keep
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
