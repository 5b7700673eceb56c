"""Invocations that end when as many are inside as event["of"] says: each leaves a file in event["folder"]."""

import os
import time

loaded_by = os.getpid()


def meets(event, context):
    open(os.path.join(event["folder"], event["name"]), "w").close()
    end = time.monotonic() + 15
    while len(os.listdir(event["folder"])) < event["of"]:
        if time.monotonic() > end:
            raise TimeoutError(event["name"])
        time.sleep(0.005)
    if event.get("exits") is not None:
        os._exit(event["exits"])
    return {"name": event["name"], "pid": os.getpid(), "loaded by": loaded_by, "trace": os.environ["_X_AMZN_TRACE_ID"]}
