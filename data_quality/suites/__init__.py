"""What must hold for each table of the warehouse, stated as data: one file a table."""

from data_quality.suites import playback_events, user_features, video_features, watch_sessions
from data_quality.suites.base import TableSuite

SUITES: dict[str, TableSuite] = {
    module.SUITE.table: module.SUITE
    for module in (playback_events, watch_sessions, user_features, video_features)
}
"""By table. `training_set` is parquet, not a table: its suite is in `training_set_suite.py`."""
