"""What tests ask of a function, by event["do"]. The same in each language here."""

import sys
import time


def handler(event, context):
    match event.get("do"):
        case "fail":
            raise Exception("failed as asked")
        case "exit":
            sys.exit(event["code"])
        case "large":
            return "x" * event["size"]
        case "sleep":
            time.sleep(event["ms"] / 1000)
            return "slept"
    return event
