"""Which words the embedded CLIP met in its pre-training: a tracked list, and what of a text is not on it.

captions and class names -> `assets/eclip_tiny/words.csv`; a text -> its words that are not there.
"""

import csv
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from eclip_lib.cache import atomic_path
from eclip_lib.paths import ASSETS

WORDS = ASSETS / "eclip_tiny" / "words.csv"


def split_words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, in lower case, as CLIP's tokenizer sees them.

    Example:
        >>> split_words("A love-letter, 2nd class")
        ['a', 'love', 'letter', '2nd', 'class']
    """
    return re.findall(r"\w+", text.lower())


def write_words(path: Path, texts: Iterable[str]) -> None:
    """Write every word of the texts once, sorted; for whoever pre-trains the embedded CLIP anew."""
    words = sorted({word for text in texts for word in split_words(text)})
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(["word", *words]) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def known_words(path: Path = WORDS) -> frozenset[str]:
    """Return the words of the captions, class names and templates that pre-trained the embedded CLIP."""
    with path.open(encoding="utf-8", newline="") as file:
        return frozenset(row["word"] for row in csv.DictReader(file))


def unseen_words(text: str) -> list[str]:
    """Return the words of a text that the embedded CLIP has never seen; a plural of a seen word counts as seen.

    Such a word still gets an embedding, made of the pieces that the tokenizer cuts it into, but what it says is chance.

    Example:
        >>> unseen_words("a guitar"), unseen_words("a quokka")
        ([], ['quokka'])
    """
    known = known_words()
    return [word for word in split_words(text) if word not in known and word.removesuffix("s") not in known]
