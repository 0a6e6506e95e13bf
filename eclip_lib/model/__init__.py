"""The method, E-CLIP (arXiv 2308.03135): three towers, prompts, and the losses that align them.

event_encoder: CLIP's image tower over frames     event_prompts: modality and cross-frame prompts
text_encoder: texts that share a prefix           text_prompts: hybrid text prompts and content prompts
losses: HTCA (event-image, event-text, text-text) eclip: `EClip`, the three towers under one roof
eventbind: checkpoints of the official code
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
