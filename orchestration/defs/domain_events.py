"""Tells other services, over a Redis stream, of trainings that began or ended."""

from datetime import UTC, datetime

import dagster as dg

from orchestration.resources import Stores
from orchestration.training_events import Cursor, changed_trainings, news


# Not a run status sensor: that one goes on to the next run when telling of one has failed.
@dg.sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes ModelTrainingStarted and ModelTrainingCompleted; while Redis is down, they wait.",
)
def training_events_sensor(
    context: dg.SensorEvaluationContext, stores: Stores
) -> dg.SensorResult | dg.SkipReason:
    from redis.exceptions import RedisError

    from serving.domain_events import publish_now
    from stack.clients import redis_client

    cursor = Cursor.parse(context.cursor, datetime.now(UTC))
    events, cursor = news(changed_trainings(context.instance, cursor), cursor)
    redis = redis_client(stores.settings)
    try:
        for event in events:
            publish_now(redis, event)
    except RedisError as error:
        # The cursor stays: all of them are told of at a later tick, those that got through twice with the same id.
        return dg.SkipReason(f"{len(events)} events wait, Redis does not answer: {type(error).__name__}")
    finally:
        redis.close()
    told = ", ".join(f"{event.type} of {event.payload.run_id[:8]}" for event in events)
    return dg.SensorResult(skip_reason=told or "no training began or ended", cursor=cursor.dump())
