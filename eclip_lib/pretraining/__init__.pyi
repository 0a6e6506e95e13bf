from .loop import pretrain as pretrain
from .loop import zero_shot as zero_shot
from .stills import gather_data as gather_data
from .stills import training_sets as training_sets
from .texts import TEMPLATES as TEMPLATES
