"""A video's facts as tokens, each of the vocabulary of its field: `text:cat`, `tag:39`, `creator:7349781`."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from ml.dataset import Catalogue

FIELDS = ("text", "tag", "category", "creator", "language", "duration")

TITLE_COUNTS = 3  # a word of the title weighs as much as one said this often in the description
MAX_CHARACTERS = 64  # of a token: an absurdly long tag must not widen the whole vocabulary

# Each step is 1.5 times as long: whether a video has 6 or 9 seconds matters as much as 60 or 90.
DURATION_STEP = 1.5

_WORDS = re.compile(r"[^\W_]+")
# Scripts that put no spaces between words: pairs of characters are the usual stand-in for words.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")


def words(text: str) -> Iterator[str]:
    """Lower-case words of two characters and more; runs of Chinese, Japanese or Korean as pairs of characters."""
    for word in _WORDS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _UNSPACED.search(word):
            for run in _UNSPACED.findall(word):
                yield from (run[at : at + 2] for at in range(max(1, len(run) - 1)))
            word = _UNSPACED.sub("", word)
        if len(word) > 1:
            yield word


def tokens(catalogue: Catalogue, row: int) -> Counter[str]:
    """How often each token stands in this row of the catalogue; unknown facts have none."""
    found: Counter[str] = Counter()
    for word in words(catalogue.titles[row]):
        found[f"text:{word}"] += TITLE_COUNTS
    for word in words(catalogue.descriptions[row]):
        found[f"text:{word}"] += 1
    for tag in set(catalogue.tags[row]):
        found[f"tag:{tag}"] += 1
    for field, values in (
        ("category", catalogue.categories),
        ("creator", catalogue.creator_ids),
        ("language", catalogue.languages),
    ):
        if value := str(values[row]):
            found[f"{field}:{value}"] += 1
    if (duration := int(catalogue.durations_ms[row])) > 0:
        found[f"duration:{duration_bucket(duration)}"] += 1
    # numpy drops NULs at the end of a text, so two tokens of the vocabulary would become one
    return Counter({token.replace("\0", " ")[:MAX_CHARACTERS].rstrip(): n for token, n in found.items()})


def duration_bucket(duration_ms: int) -> int:
    """Which power of `DURATION_STEP` seconds the duration is nearest to; below a second: 0."""
    return max(0, round(math.log(max(duration_ms, 1000) / 1000, DURATION_STEP)))


def text_of(catalogue: Catalogue, row: int) -> str:
    """What a sentence encoder reads: title, tags and description as one text."""
    parts = (catalogue.titles[row], ", ".join(catalogue.tags[row]), catalogue.descriptions[row])
    return ". ".join(part.strip() for part in parts if part.strip())
