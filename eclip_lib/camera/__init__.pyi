from .folder import read_camera as read_camera
from .folder import record_folder as record_folder
from .gaze import as_path as as_path
from .simulation import VERSION as VERSION
from .simulation import SaccadeCamera as SaccadeCamera
from .stills import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from .stills import read_still as read_still
from .stills import to_rgb as to_rgb
