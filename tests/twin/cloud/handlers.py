"""Functions for tests of the real runtime client: this file is all the code that they have."""

import os
import subprocess
import threading
import time

COUNT = 0
TICKS = 0


def handler(event, context):  # type: ignore[no-untyped-def]
    global COUNT
    COUNT += 1
    match event.get("do"):
        case "raise":
            raise KeyError("a")
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(event["s"])
        case "tick":
            threading.Thread(target=_tick, daemon=True).start()
    return {
        "count": COUNT,
        "pid": os.getpid(),
        "ticks": TICKS,
        "name": context.function_name,
        "memory": context.memory_limit_in_mb,
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "variables": dict(os.environ),
    }


def _tick() -> None:
    global TICKS
    while True:
        time.sleep(0.005)
        TICKS += 1


def with_child(event, context):  # type: ignore[no-untyped-def]
    child = subprocess.Popen(["sleep", "100"])
    time.sleep(event["s"])
    return child.pid
