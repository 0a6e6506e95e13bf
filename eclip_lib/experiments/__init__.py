"""Experiments: a `Run` in, a ledger row out; and many of them.

experiment: one of them, in its parts      runs: `run`, `run_all`
presets, paper_presets: settings that fit, settings that papers published
overrides: fields changed by name          checkpoint_eval: a checkpoint evaluated without training
rival_scores: what rivals are fed with     shortcut: can event-text be solved without the class?
notebooks/: with parameters, without a browser (headless, parameters, pages, shipped)
batch/: ablations on all cores or a cluster (variants, grid, cells, execution, workers)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
