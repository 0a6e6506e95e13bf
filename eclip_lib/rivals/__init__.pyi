from .probe import probe_scores as probe_scores
from .small_network import WINDOWS as WINDOWS
from .small_network import cnn_scores as cnn_scores
from .small_network import train_network as train_network
from .zero_shot import zero_shot_scores as zero_shot_scores
