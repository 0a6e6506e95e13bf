"""What a model is worth: embeddings and scores, figures of merit, what each protocol reports.

scores: embeddings and class scores      metrics: figures of merit, pure functions
intervals: spread and intervals          protocols: what each protocol reports
predictions: files of per-recording predictions
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
