"""Batches of ablations: notebook 04 once for each variant and seed, on all cores or a cluster.

variants: what is compared     grid: a base, variants and seeds     cells: what is there, what is left
execution: `run_batch`         workers: where a batch runs: this machine, a scheduler, SLURM
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
