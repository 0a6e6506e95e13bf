from .camera import SaccadeCamera as SaccadeCamera
from .clip import load_clip as load_clip
from .config import DataConfig as DataConfig
from .config import FrameConfig as FrameConfig
from .config import LossConfig as LossConfig
from .config import ModelConfig as ModelConfig
from .config import Run as Run
from .config import TrainConfig as TrainConfig
from .data import load_dataset as load_dataset
from .events import EVENT_DTYPE as EVENT_DTYPE
from .events import Recording as Recording
from .events import read_events as read_events
from .events import write_events as write_events
from .experiments import run as run
from .frames import colorize as colorize
from .frames import count_maps as count_maps
from .frames import event_frames as event_frames
from .ledger import read_results as read_results
from .model import EClip as EClip
from .model import htca as htca
from .model import info_nce as info_nce
from .model import load_eventbind_checkpoint as load_eventbind_checkpoint
from .training import load_checkpoint as load_checkpoint

__version__: str
