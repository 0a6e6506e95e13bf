"""The method, E-CLIP: three towers, prompts, and the losses that align them.

event_encoder: CLIP's image tower with temporal modelling and event prompts     eclip: `EClip`, all under one roof
prompts: hybrid text prompts and content prompts                                text_encoder: texts with a shared prefix
losses: HTCA, the contrastive terms (event-image, event-text, text-text)        eventbind: official checkpoints
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
