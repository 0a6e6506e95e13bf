"""E-CLIP workbench: CLIP for event cameras, as a small library behind notebooks.

Import the parts you need (`from eclip_lib.events import read_events`); importing the package itself loads nothing
heavy.
"""

__version__ = "0.1.0"
