"""Experiments: a `Run` in, a ledger row out; and many of them.

experiment: one of them, in its parts       runs: `run`, `run_all`
presets, paper_presets: settings that fit, settings that were published
rival_scores: what rivals are fed with     shipped: the notebooks that a wheel carries
overrides: fields changed by name          parameters, headless, pages: notebooks with parameters, without a browser
batch/: ablations on all cores or a cluster (variants, grid, cells, running, cluster)
checkpoint_eval: a checkpoint evaluated without training
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
