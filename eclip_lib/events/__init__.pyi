from .array import EVENT_DTYPE as EVENT_DTYPE
from .augmentation import augment as augment
from .augmentation import augments as augments
from .augmentation import sample_rng as sample_rng
from .files import read_events as read_events
from .files import write_events as write_events
from .from_bytes import read_event_bytes as read_event_bytes
from .recording import Recording as Recording
