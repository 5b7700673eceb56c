"""Does what the event says, well or badly."""
import json
import os
import subprocess
import sys
import time

if os.environ.get("INIT") == "throw":
    raise IndexError("no init today")
if os.environ.get("INIT") == "exit":
    sys.exit(int(os.environ["INIT_STATUS"]))


def handler(event, context):
    do = event.get("do")
    if do == "error":
        raise TypeError(event.get("message", "said so"))
    if do == "exit":
        os._exit(event["status"])
    if do == "big":
        return "x" * (event["bytes"] - 2)  # two quotes around it
    if do == "size":
        return len(json.dumps(event, separators=(",", ":")))
    if do == "sleep":
        time.sleep(event["ms"] / 1000)
        return "slept"
    if do == "children":
        subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "left"
    if do == "context":
        return {"id": context.aws_request_id, "arn": context.invoked_function_arn, "name": context.function_name,
                "left": context.get_remaining_time_in_millis(), "client": None}
    if do == "log":
        print(event["message"])
        return "logged"
    return event


def stream(event, context):
    """What other languages would take for an answer bit by bit."""
    yield "first "
    yield "second"
