"""What differs between the two worlds of `planted_future`, in the training rows of up to a moment."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from data_quality.training_rows import stream_interactions, training_rows
from data_quality.training_set_schema import FEATURES, INTERACTIONS_SCHEMA
from data_quality.windows import epoch_ms

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WORLDS = ("a|", "b|")
EXAMPLES = 5
_KEY = ["session_id", "user_id", "video_id"]


class Comparison:
    """Counts, and a few examples. `touched` are the sessions in which something was planted."""

    def __init__(self, touched: set[tuple[str, str, str]]) -> None:
        columns = [pa.array([key[i] for key in sorted(touched)], pa.string()) for i in range(len(_KEY))]
        known = pa.array([True] * len(touched), pa.bool_())
        self.touched = pa.table([*columns, known], names=[*_KEY, "touched"])
        self.rows = self.whole_rows = self.differences = 0
        self.examples: list[str] = []

    def add(self, table: pa.Table) -> None:
        """Compare these rows, which hold all of both worlds that began in some hours."""
        if not table.num_rows:
            return
        a, b = (_world(table, world) for world in WORLDS)
        both = a.join(b, _KEY, join_type="full outer", left_suffix=" a", right_suffix=" b")
        both = both.join(self.touched, _KEY, join_type="left outer").sort_by([(k, "ascending") for k in _KEY])
        in_a, in_b, touched = (pc.fill_null(both[name], False) for name in ("in a|", "in b|", "touched"))
        in_both, untouched = pc.and_(in_a, in_b), pc.invert(touched)
        # What came later may make a session watched long enough: then its row is new. None may be gone.
        wrong = {
            "the row is gone": pc.and_not(in_a, in_b),
            "the row is new": pc.and_(pc.and_not(in_b, in_a), untouched),
        }
        for name in INTERACTIONS_SCHEMA.names:
            if name not in _KEY:
                wrong[name] = pc.and_(pc.and_(in_both, untouched), _differs(both, name))
        for feature in FEATURES:
            wrong[feature.name] = pc.and_(in_both, _differs(both, feature.name))
        any_wrong = pc.and_(in_a, False)
        for mask in wrong.values():
            any_wrong = pc.or_(any_wrong, mask)
        self.rows += _count(in_a)
        self.whole_rows += _count(pc.and_(in_a, untouched))
        self.differences += _count(any_wrong)
        for at in pc.indices_nonzero(any_wrong).to_pylist()[: EXAMPLES - len(self.examples)]:
            names = [name for name, mask in wrong.items() if mask[at].as_py()]
            self.examples.append(_example(both.slice(at, 1).to_pylist()[0], names))


def compare(client: "Client", cut: datetime, touched: set[tuple[str, str, str]]) -> Comparison:
    """Exactly what a training set reads, of the rows that began up to `cut`. Raises `TrainingSetEmptyError`."""
    found, cut_ms = Comparison(touched), epoch_ms(cut)
    for table in stream_interactions(client, training_rows(client)):
        found.add(table.filter(pc.less_equal(table["started_at"].cast(pa.int64()), cut_ms)))
    return found


def _world(table: pa.Table, world: str) -> pa.Table:
    """Its rows, with the ids that they have in the main database."""
    rows = table.filter(pc.starts_with(table["user_id"], pattern=world))
    for name in _KEY:
        own = pc.utf8_slice_codeunits(rows[name].cast(pa.string()), len(world))
        rows = rows.set_column(rows.column_names.index(name), name, own)
    return rows.append_column(f"in {world}", pa.array([True] * rows.num_rows, pa.bool_()))


def _differs(both: pa.Table, name: str) -> pa.ChunkedArray:
    a, b = both[f"{name} a"], both[f"{name} b"]
    same = pc.or_(pc.fill_null(pc.equal(a, b), False), pc.and_(pc.is_null(a), pc.is_null(b)))
    return pc.invert(same)


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask.cast(pa.int64())).as_py() or 0)


def _example(row: dict[str, Any], wrong: list[str]) -> str:
    what = ", ".join(
        f"{name} was {row[f'{name} a']} and became {row[f'{name} b']}" if f"{name} a" in row else name
        for name in wrong
    )
    return f"session {row['session_id']!r}, user {row['user_id']!r}, video {row['video_id']!r}: {what}"
