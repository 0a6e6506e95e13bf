"""What checks the shapes and types in signatures while tests run: beartype, for which an int is a float too."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
