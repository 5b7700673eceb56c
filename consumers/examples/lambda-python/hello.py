"""As it would be on AWS: nothing here knows of Sluice."""

import logging

logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    logging.info("greeting %s, %d ms left", event.get("name"), context.get_remaining_time_in_millis())
    return {"greeting": f"Hello, {event.get('name', 'world')}"}
