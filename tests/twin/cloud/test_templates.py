"""What runs here is what the templates say, resolved as CloudFormation does."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from voxyray.twin.cloud.errors import TemplateError
from voxyray.twin.cloud.templates import Api, Stack, Trigger, read_stack

DEPLOYED = Path(__file__).parents[3] / "deploy" / "aws" / "template.yaml"


def read(tmp_path: Path, text: str, parameters: dict[str, Any] | None = None) -> Stack:
    path = tmp_path / "template.yaml"
    path.write_text(dedent(text))
    return read_stack(path, parameters)


FUNCTION = """
    Parameters:
      Table: {Type: String, Default: things}
      Model: {Type: String, Default: ""}
      Reserved: {Type: String, Default: ""}
    Conditions:
      HasModel: !Not [!Equals [!Ref Model, ""]]
      HasReserved: !Not [!Equals [!Ref Reserved, ""]]
    Resources:
      Talk:
        Type: AWS::Serverless::Function
        Properties:
          Handler: talk.handler
          Timeout: 28
          MemorySize: 1769
          AutoPublishAlias: live
          ReservedConcurrentExecutions: !If [HasReserved, !Ref Reserved, !Ref AWS::NoValue]
          Environment:
            Variables:
              STORE: !Sub dynamodb:${Table}
              MODEL: !If [HasModel, !Ref Model, !Ref AWS::NoValue]
              QUEUE: !Ref Queue
              QUEUE_ARN: !GetAtt Queue.Arn
              NAMES: !Sub ["${A}-${Queue.QueueName}-${!Literal}", {A: !Join [",", [x, y]]}]
              ALIAS: !Ref Talk.Alias
              VERSION: !Sub ${Talk.Version}
              SECOND: !Select [1, !Split [":", "ssm:/path/"]]
              STACK: !Ref AWS::StackName
              BOTH: !And [true, !Or [false, !Condition HasModel]]
          Events:
            Wake:
              Type: SQS
              Properties:
                Queue: !GetAtt Queue.Arn
                BatchSize: 1
                FunctionResponseTypes: [ReportBatchItemFailures]
                ScalingConfig: {MaximumConcurrency: 5}
            Hourly: {Type: Schedule, Properties: {Schedule: rate(1 hour)}}
      Queue:
        Type: AWS::SQS::Queue
        Properties:
          VisibilityTimeout: 180
          SqsManagedSseEnabled: true
          RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5}
      Dead: {Type: AWS::SQS::Queue}
      Unused:
        Type: AWS::SQS::Queue
        Condition: HasModel
      Alarm:
        Type: AWS::CloudWatch::Alarm
        Properties: {Period: !Nothing unknown}
"""


def test_a_function_is_resolved(tmp_path: Path) -> None:
    [talk] = read(tmp_path, FUNCTION).functions
    assert (talk.name, talk.handler) == ("voxyray-Talk", "talk.handler")
    assert (talk.timeout_s, talk.memory_mb, talk.concurrency) == (28, 1769, None)
    arn = "arn:aws:lambda:eu-central-1:000000000000:function:voxyray-Talk"
    assert talk.environment == {
        "STORE": "dynamodb:things",
        "QUEUE": "https://sqs.eu-central-1.amazonaws.com/000000000000/voxyray-Queue",
        "QUEUE_ARN": "arn:aws:sqs:eu-central-1:000000000000:voxyray-Queue",
        "NAMES": "x,y-voxyray-Queue-${Literal}",
        "ALIAS": f"{arn}:live",
        "VERSION": f"{arn}:1",
        "SECOND": "/path/",
        "STACK": "voxyray",
        "BOTH": "false",
    }
    assert talk.triggers == (Trigger("voxyray-Queue", 1, True, 5),)


def test_parameters_and_conditions_count(tmp_path: Path) -> None:
    stack = read(tmp_path, FUNCTION, {"Model": "openai:x", "Reserved": 3, "Table": "other"})
    [talk] = stack.functions
    assert (talk.environment["MODEL"], talk.environment["BOTH"]) == ("openai:x", "true")
    assert talk.environment["STORE"] == "dynamodb:other"
    assert talk.concurrency == 3
    assert [queue.name for queue in stack.queues] == [
        "voxyray-Queue",
        "voxyray-Dead",
        "voxyray-Unused",
    ]


def test_queues_know_their_dead_letters(tmp_path: Path) -> None:
    queue, dead = read(tmp_path, FUNCTION).queues
    assert queue.dead_letters == "arn:aws:sqs:eu-central-1:000000000000:voxyray-Dead"
    assert queue.attributes == {
        "VisibilityTimeout": "180",
        "RedrivePolicy": f'{{"deadLetterTargetArn":"{queue.dead_letters}","maxReceiveCount":5}}',
    }
    assert (dead.attributes, dead.dead_letters) == ({}, "")


def with_(properties: str) -> str:
    return f"Resources: {{F: {{Type: AWS::Serverless::Function, Properties: {{{properties}}}}}}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing: 1", "no template"),
        ("Resources: [", "template.yaml"),
        ("{Globals: {}, Resources: {}}", "Globals"),
        (with_("Timeout: 3"), "F has no H"),
        (with_("Handler: !ImportValue x"), "ImportValue"),
        (with_("Handler: !Ref Nobody"), "no Nobody to refer to"),
        (with_("Handler: !GetAtt Nobody.Arn"), "no Nobody to take Arn of"),
        (with_("Handler: !GetAtt F.Colour"), "Colour of F"),
        (with_("Handler: !If [Nobody, a, b]"), "no condition Nobody"),
        (with_("Handler: !Select [9, [a]]"), "Select"),
        ("Resources: {T: {Type: AWS::DynamoDB::Table, Properties: {KeySchema: []}}}", "T has the"),
    ],
)
def test_what_is_not_known_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said) as error:
        read(tmp_path, text)
    assert "template.yaml" in str(error.value)


def test_parameters_are_needed_and_known(tmp_path: Path) -> None:
    text = """
        Parameters: {Name: {Type: String}}
        Resources: {F: {Type: AWS::Serverless::Function, Properties: {Handler: !Ref Name}}}
    """
    with pytest.raises(TemplateError, match="parameter Name must be given"):
        read(tmp_path, text)
    with pytest.raises(TemplateError, match="no parameter Other"):
        read(tmp_path, text, {"Other": 1})
    with pytest.raises(TemplateError, match="cannot read"):
        read_stack(tmp_path / "nothing.yaml")


def test_nested_templates_pass_values_both_ways(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(
        dedent("""
        Parameters: {Given: {Type: String}}
        Resources: {Things: {Type: AWS::SQS::Queue}}
        Outputs:
          Name: {Value: !GetAtt Things.QueueName}
          Back: {Value: !Sub "<${Given}>"}
        """)
    )
    stack = read(
        tmp_path,
        """
        Resources:
          One:
            Type: AWS::Serverless::Application
            Properties: {Location: child.yaml, Parameters: {Given: !GetAtt Two.Outputs.Name}}
          Two:
            Type: AWS::Serverless::Application
            Properties: {Location: child.yaml, Parameters: {Given: x}}
          F:
            Type: AWS::Serverless::Function
            Properties: {Handler: !GetAtt One.Outputs.Back}
        """,
    )
    assert [queue.name for queue in stack.queues] == ["voxyray-One-Things", "voxyray-Two-Things"]
    assert stack.functions[0].handler == "<voxyray-Two-Things>"


def test_the_deployed_templates_can_be_read() -> None:
    stack = read_stack(DEPLOYED)
    handlers = {function.handler for function in stack.functions}
    assert {f"voxyray.aws.{name}.handler" for name in ("relay", "web", "sender")} <= handlers
    assert stack.websocket is not None
    assert (stack.websocket.stage, stack.websocket.timeout_s) == ("live", 29)
    assert isinstance(stack.http, Api)
    assert "POST /voice" in stack.http.routes
    assert stack.http.timeout_s == 15
    relay = next(each for each in stack.functions if each.name == stack.websocket.function)
    assert relay.handler == "voxyray.aws.relay.handler"
    assert relay.environment["VOXYRAY_STORE"] == f"dynamodb:{stack.tables[0]}"
    assert relay.environment["VOXYRAY_CONNECTIONS_URL"].endswith(".amazonaws.com/live")
    queues = {queue.name for queue in stack.queues}
    assert {trigger.queue for each in stack.functions for trigger in each.triggers} <= queues
    assert {custom.kind for custom in stack.customs} == {"Custom::Definition"}


def test_tools_may_have_functions_of_their_own() -> None:
    stack = read_stack(DEPLOYED, {"ToolsIn": "function"})
    tools = [each for each in stack.functions if each.handler == "voxyray.aws.toolbox.handler"]
    assert len(tools) == 3
    given = {custom.properties["ToolsFunction"].split(":")[6] for custom in stack.customs}
    assert given == {each.name for each in tools}
