"""Functions for tests of the real runtime client: this file is all the code that they have."""

import os
import subprocess
import threading
import time
from typing import Any

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


def relay(event, context):  # type: ignore[no-untyped-def]
    """Repeat what is said, with AWS's own client; what is said to the queue is sent there."""
    import boto3

    asked = event.get("requestContext", {})
    if "Records" in event:
        for record in event["Records"]:
            connection, _, text = record["body"].partition(" ")
            _post(boto3, connection, f"queued {text}")
    elif asked["routeKey"] == "$default":
        text = event["body"]
        if text.startswith("queue "):
            body = f"{asked['connectionId']} {text.removeprefix('queue ')}"
            boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=body)
        elif text == "secrets":
            path = os.environ["VOXYRAY_SECRETS"].removeprefix("ssm:")
            found = boto3.client("ssm").get_parameters_by_path(Path=path, WithDecryption=True)
            _post(boto3, asked["connectionId"], found["Parameters"][0]["Value"])
        else:
            _post(boto3, asked["connectionId"], text)
    return {"statusCode": 200}


def _post(boto3: Any, connection: str, text: str) -> None:
    url = os.environ["CONNECTIONS_URL"]
    client = boto3.client("apigatewaymanagementapi", endpoint_url=url)
    client.post_to_connection(ConnectionId=connection, Data=text.encode())


def web(event, context):  # type: ignore[no-untyped-def]
    return {"statusCode": 200, "body": f"{event['routeKey']} {os.environ['RELAY_URL']}"}


def define(event, context):  # type: ignore[no-untyped-def]
    """Write what a custom resource wants into the table, and tell CloudFormation."""
    import json
    import urllib.request

    import boto3

    wanted = event["ResourceProperties"]
    item = {"pk": {"S": "DEFINED"}, "sk": {"S": wanted["Name"]}}
    boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item=item)
    failed = wanted["Name"] == "bad"
    answer = {"Status": "FAILED" if failed else "SUCCESS", "Reason": "it is bad"}
    body = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], body, method="PUT"))
