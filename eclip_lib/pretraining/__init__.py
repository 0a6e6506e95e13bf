"""How the embedded tiny CLIP is made (notebook 90).

stills: what it sees      texts: what it reads     augmentation: random views of stills
losses: of a step         teacher: its second target     loop: `pretrain`     vocabulary: the words it needs
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
