import sys

from eclip_lib.paths import ROOT

sys.path.insert(0, str(ROOT / "docs"))  # whose files make pages
