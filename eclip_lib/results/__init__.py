"""A ledger as tables, figures and a page.

rows: which rows can be compared      summaries: short tables        comparisons: paired effects, corrected
claims: of the paper, with verdicts   published: numbers of papers
tables, plots: of a results section   sections, files, page: put together and written
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
