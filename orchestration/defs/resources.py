"""The resource instances of this deployment, and how runs execute."""

import dagster as dg

from orchestration.dbt import dbt_resource
from orchestration.io_managers import RecordIOManager
from orchestration.resources import Stores
from stack.settings import load_settings


@dg.definitions
def resources() -> dg.Definitions:
    settings = load_settings()
    # A step costs ~4 s in a process of its own and 0.1 s in the run's; big machines may prefer isolation.
    executor = dg.multiprocess_executor if settings.executor == "multiprocess" else dg.in_process_executor
    return dg.Definitions(
        resources={
            "stores": Stores(),
            "dbt": dbt_resource(settings),
            "io_manager": RecordIOManager(settings.dagster_home / "records"),
        },
        executor=executor,
    )
