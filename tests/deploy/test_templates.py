"""The stacks as they would be deployed: what linters do not see, and what must stay so."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.stacks import (
    AWS,
    ROOT,
    STACKS,
    functions,
    listed,
    name_of,
    resources,
    statements,
    template,
    texts,
)
from voxyray import metrics
from voxyray.settings import VARIABLES

REPOSITORY = AWS.parents[1]
FUNCTIONS = functions()
IDS = [f"{stack}-{name}" for stack, name, _ in FUNCTIONS]
each_function = pytest.mark.parametrize(("stack", "name", "function"), FUNCTIONS, ids=IDS)
each_stack = pytest.mark.parametrize("file", STACKS, ids=map(name_of, STACKS))

LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
TABLE = {
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
    "dynamodb:ConditionCheckItem",
}
WRITING = {f"dynamodb:{verb}" for verb in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")}
QUEUE = {f"sqs:{verb}Message" for verb in ("Receive", "Delete", "Send")} | {
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
}
SECRETS = {"ssm:GetParametersByPath", "secretsmanager:GetSecretValue", "kms:Decrypt"}
APPEND = {"dynamodb:BatchWriteItem"}
SEND = {"sqs:SendMessage"}

# All that each function may do. Whoever adds to it says here why.
MAY = {
    "application-Relay": LOG | TABLE | APPEND | QUEUE | SECRETS | {"execute-api:ManageConnections"},
    "voice-Web": LOG | TABLE | APPEND | SEND | SECRETS,
    "send-message-Sender": LOG | TABLE | QUEUE | SECRETS,
    "send-email-Sender": LOG | TABLE | QUEUE | SECRETS | {"ses:SendEmail"},
    "use-cases/default-Define": LOG | TABLE | APPEND,
    "use-cases/default-Tools": LOG | TABLE | APPEND | SEND,
    "use-cases/apartment_search-Define": LOG | TABLE | APPEND,
    "use-cases/apartment_search-Tools": LOG | TABLE | APPEND | SEND,
    "use-cases/apartment_search-Refresh": LOG | TABLE | APPEND | SEND,
    "use-cases/restaurant_order-Define": LOG | TABLE | APPEND,
    "use-cases/restaurant_order-Tools": LOG | TABLE | APPEND | SEND,
}
# What a stack takes and neither a parameter's default nor another stack gives.
OPERATORS = {"Secrets"}


CHILDREN = {
    name: (
        ROOT.parent / each["Properties"]["Location"],
        each["Properties"].get("Parameters", {}),
    )
    for name, each in template(ROOT)["Resources"].items()
    if each["Type"] == "AWS::Serverless::Application"
}


def file_of(stack: str) -> Path:
    return AWS / stack / "template.yaml"


def resource(stack: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = template(file_of(stack))["Resources"][name]
    return found


class TestFunctions:
    @each_function
    def test_run_on_the_python_and_processor_they_are_built_for(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        # Linters accept invented runtimes, and another processor could not load the libraries.
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
        assert resource(stack, name)["Metadata"] == {"BuildMethod": "makefile"}

    @each_function
    def test_have_a_handler_that_is_there(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        module, _, handler = function["Handler"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), handler))

    @each_function
    def test_end_before_whoever_waits_for_them_gives_up(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        waited_s = {"Relay": 29, "Web": 15, "Tools": 29}.get(name, 900)
        assert 0 < function["Timeout"] <= waited_s
        assert name != "Relay" or function["Timeout"] < 29  # else API Gateway writes to the caller

    @each_function
    def test_log_where_logs_end(self, stack: str, name: str, function: dict[str, Any]) -> None:
        logging = function["LoggingConfig"]
        assert logging["LogFormat"] == "JSON"
        group = resource(stack, logging["LogGroup"]["Ref"])
        assert group["Type"] == "AWS::Logs::LogGroup"
        assert group["Properties"]["RetentionInDays"] == {"Ref": "RetentionInDays"}

    @each_function
    def test_hold_no_secret(self, stack: str, name: str, function: dict[str, Any]) -> None:
        variables = function["Environment"]["Variables"]
        secret = re.compile(r"TOKEN|_KEY|PASSWORD|ACCOUNT_SID|USERNAME")
        assert [each for each in variables if secret.search(each)] == []
        assert [text for text in texts(variables) if "{{resolve:" in text] == []

    @each_function
    def test_know_only_settings_there_are(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        others = {"CONNECTIONS_URL", "SECRETS", "AGENTS", "AGENT", "METRICS_NAMESPACE"}
        others |= {f"{kind}_QUEUE_URL" for kind in ("WAKE", "SMS", "EMAIL")}
        known = {*VARIABLES.values(), *(f"VOXYRAY_{each}" for each in others)}
        known.add("VOXYRAY_RELAY_URL")
        assert set(function["Environment"]["Variables"]) <= known

    @each_function
    def test_name_an_agent_that_is_in_their_bundle(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        if (agent := function["Environment"]["Variables"].get("VOXYRAY_AGENT")) is None:
            return
        assert (REPOSITORY / agent / "agent.toml").exists()
        makefile = (AWS / stack / "Makefile").read_text()
        assert f"AGENTS := {Path(agent).name}\n" in makefile

    @each_function
    def test_reach_their_alias_with_every_new_setting(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        # Without it, a version (and so the alias) is new only when the code is.
        if "AutoPublishAlias" in function:
            assert function["AutoPublishAliasAllProperties"] is True

    def test_all_are_expected(self) -> None:
        assert sorted(IDS) == sorted(MAY)

    def test_relay_starts_fast_in_one_way_at_most(self) -> None:
        rules = template(file_of("application"))["Rules"]
        assert "not both" in rules["OneWayToStartFast"]["Assertions"][0]["AssertDescription"]


class TestPolicies:
    @each_function
    def test_allow_exactly_what_is_needed(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        role = function["Role"]["Fn::GetAtt"].removesuffix(".Arn")
        allowed = [each for each in statements(file_of(stack), role) if each["Effect"] == "Allow"]
        actions = {action for each in allowed for action in listed(each["Action"])}
        assert actions == MAY[f"{stack}-{name}"]
        assert "ManagedPolicyArns" not in resource(stack, role)["Properties"]

    @each_function
    def test_reach_single_resources_of_their_own_account(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        role = function["Role"]["Fn::GetAtt"].removesuffix(".Arn")
        for statement in statements(file_of(stack), role):
            for where in listed(statement["Resource"]):
                for text in texts(where):
                    assert text.count("*") == 0 or text.endswith("/@connections/*"), text
                    assert not text.startswith("arn:aws:"), "no partition is the only one"
                    fields = text.split(":")
                    if text.startswith("arn:") and len(fields) > 5 and "execute-api" not in text:
                        assert "${AWS::Region}" in text
                        assert "${AWS::AccountId}" in text

    def test_let_the_relay_speak_to_its_own_callers_only(self) -> None:
        speak = [s for s in statements(file_of("application"), "RelayRole") if s["Sid"] == "Speak"]
        ends = {where["Fn::Sub"].rpartition("${RelayApi}")[2] for where in speak[0]["Resource"]}
        assert ends == {"/live/POST/@connections/*", "/live/DELETE/@connections/*"}

    @pytest.mark.parametrize("stack", [s for s, n, _ in FUNCTIONS if n == "Tools"])
    def test_keep_tools_from_changing_agents(self, stack: str) -> None:
        (denied,) = (s for s in statements(file_of(stack), "ToolsRole") if s["Effect"] == "Deny")
        assert set(denied["Action"]) == WRITING
        keys = denied["Condition"]["ForAnyValue:StringLike"]["dynamodb:LeadingKeys"]
        assert keys == ["AGENTS", "AGENT#*"]

    @pytest.mark.parametrize(
        ("stack", "role"),
        [(s, f"{n}Role") for s, n, _ in FUNCTIONS if n in ("Define", "Refresh")],
    )
    def test_keep_deployments_from_what_is_callers(self, stack: str, role: str) -> None:
        found = [s for s in statements(file_of(stack), role) if s["Sid"] == "NobodysItems"]
        assert set(found[0]["Action"]) == TABLE | APPEND
        keys = found[0]["Condition"]["ForAnyValue:StringLike"]["dynamodb:LeadingKeys"]
        assert {"CALL#*", "CALLER#*", "OUTBOX#*"} <= set(keys)

    @each_stack
    def test_have_roles_that_can_be_bounded(self, file: Path) -> None:
        for role in resources(file, "AWS::IAM::Role").values():
            assert (
                role["Properties"]["PermissionsBoundary"]["Fn::If"][0] == "HasPermissionsBoundary"
            )

    @pytest.mark.parametrize("stack", [s for s, n, _ in FUNCTIONS if n == "Tools"])
    def test_let_named_roles_use_tools(self, stack: str) -> None:
        allowed = resources(file_of(stack), "AWS::Lambda::Permission")
        assert {
            (each["Condition"], each["Properties"]["Principal"]["Ref"]) for each in allowed.values()
        } == {("RelayMayUse", "RelayRole"), ("WebMayUse", "WebRole")}
        for each in allowed.values():
            assert each["Properties"]["FunctionName"] == {"Ref": "Tools.Alias"}


class TestQueues:
    @each_stack
    def test_are_encrypted_and_end_in_dead_letters_that_alarm(self, file: Path) -> None:
        queues = resources(file, "AWS::SQS::Queue")
        watched = {
            each["Properties"]["Dimensions"][0]["Value"]["Fn::GetAtt"].partition(".")[0]
            for each in resources(file, "AWS::CloudWatch::Alarm").values()
            if each["Properties"]["Namespace"] == "AWS/SQS"
        }
        for name, queue in queues.items():
            properties = queue["Properties"]
            assert properties["SqsManagedSseEnabled"] is True
            if "DeadLetters" in name:
                assert name in watched
                assert properties["MessageRetentionPeriod"] == 14 * 86_400
            else:
                redrive = properties["RedrivePolicy"]
                dead = redrive["deadLetterTargetArn"]["Fn::GetAtt"].partition(".")[0]
                assert "DeadLetters" in dead
                assert dead in queues
                assert redrive["maxReceiveCount"] == 5

    @each_function
    def test_keep_a_message_hidden_for_six_times_the_timeout(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        for event in function.get("Events", {}).values():
            if event["Type"] != "SQS":
                continue
            queue = event["Properties"]["Queue"]["Fn::GetAtt"].removesuffix(".Arn")
            hidden_s = resource(stack, queue)["Properties"]["VisibilityTimeout"]
            assert hidden_s >= 6 * function["Timeout"]
            assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    def test_wake_one_call_at_a_time(self) -> None:
        relay = resource("application", "Relay")["Properties"]
        assert relay["Events"]["Wake"]["Properties"]["BatchSize"] == 1

    @each_function
    def test_take_what_a_schedule_started_in_vain_or_its_errors_alarm(
        self, stack: str, name: str, function: dict[str, Any]
    ) -> None:
        events = function.get("Events", {}).values()
        if not any(each["Type"] == "Schedule" for each in events):
            return
        ends = function["EventInvokeConfig"]
        alarms = resources(file_of(stack), "AWS::CloudWatch::Alarm")
        assert "DestinationConfig" in ends or (
            ends["MaximumRetryAttempts"] == 0 and f"{name}ErrorsAlarm" in alarms
        )


class TestTable:
    table = resource("database", "DataTable")

    def test_outlives_its_stack(self) -> None:
        assert (self.table["DeletionPolicy"], self.table["UpdateReplacePolicy"]) == (
            "Retain",
            "Retain",
        )
        assert self.table["Properties"]["DeletionProtectionEnabled"] == {
            "Ref": "DeletionProtection"
        }
        nested = template(ROOT)["Resources"]["Database"]
        assert nested["DeletionPolicy"] == "Retain"

    def test_can_be_wound_back_is_encrypted_and_forgets(self) -> None:
        properties = self.table["Properties"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert properties["SSESpecification"]["SSEEnabled"] is True
        assert properties["TimeToLiveSpecification"] == {
            "AttributeName": "expires_at",
            "Enabled": True,
        }

    def test_has_the_stores_keys(self) -> None:
        keys = [
            (key["AttributeName"], key["KeyType"]) for key in self.table["Properties"]["KeySchema"]
        ]
        assert keys == [("pk", "HASH"), ("sk", "RANGE")]


class TestRelayApi:
    api = resource("application", "RelayApi")["Properties"]

    def test_sends_every_frame_to_one_alias(self) -> None:
        # At $LATEST, provisioned environments and snapshots would be passed by.
        assert set(self.api["Routes"]) == {"$connect", "$default", "$disconnect"}
        targets = [route["FunctionArn"] for route in self.api["Routes"].values()]
        assert targets == [{"Ref": "Relay.Alias"}] * 3

    def test_is_throttled_and_logs_no_words(self) -> None:
        settings = self.api["DefaultRouteSettings"]
        assert settings["DataTraceEnabled"] is False
        assert {"ThrottlingRateLimit", "ThrottlingBurstLimit"} < set(settings)
        _, log, otherwise = self.api["AccessLogSettings"]["Fn::If"]
        assert otherwise == {"Ref": "AWS::NoValue"}
        assert json.loads(log["Format"])  # one JSON object a line
        assert not re.search(r"sourceIp|identity|body|authorizer", log["Format"])

    def test_has_the_url_that_the_function_is_told(self) -> None:
        told = resource("application", "Relay")["Properties"]["Environment"]["Variables"]
        host = "${RelayApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"
        assert self.api["StageName"] == "live"
        assert told["VOXYRAY_RELAY_URL"] == {"Fn::Sub": f"wss://{host}/live"}
        assert told["VOXYRAY_CONNECTIONS_URL"] == {"Fn::Sub": f"https://{host}/live"}
        outputs = template(file_of("application"))["Outputs"]
        assert outputs["RelayUrl"]["Value"] == told["VOXYRAY_RELAY_URL"]


class TestHttpApi:
    file = file_of("voice")

    def test_has_the_routes_and_no_other(self) -> None:
        routes = resources(self.file, "AWS::ApiGatewayV2::Route").values()
        posts = ("voice", "relay-ended", "after-dial", "whisper", "sms", "status")
        assert {route["Properties"]["RouteKey"] for route in routes} == {
            *(f"POST /{path}" for path in posts),
            "GET /healthz",
        }
        for route in routes:
            assert route["Properties"]["Target"] == {"Fn::Sub": "integrations/${Integration}"}

    def test_points_at_the_alias(self) -> None:
        integration = resource("voice", "Integration")["Properties"]
        assert integration["IntegrationUri"] == {"Ref": "Web.Alias"}
        assert integration["PayloadFormatVersion"] == "2.0"
        assert resource("voice", "Permission")["Properties"]["FunctionName"] == {"Ref": "Web.Alias"}

    def test_logs_one_json_object_a_line_and_nobodys_data(self) -> None:
        log = resource("voice", "Stage")["Properties"]["AccessLogSettings"]
        assert json.loads(log["Format"])
        assert not re.search(r"sourceIp|identity|body|authorizer", log["Format"])


class TestUseCases:
    cases = tuple(file for file in STACKS if file.parent.parent.name == "use-cases")

    def test_there_is_one_for_every_agent(self) -> None:
        agents = {file.parent.name for file in (REPOSITORY / "agents").glob("*/agent.toml")}
        assert {file.parent.name for file in self.cases} == agents

    @pytest.mark.parametrize("file", cases, ids=map(name_of, cases))
    def test_definition_is_written_again_with_every_bundle(self, file: Path) -> None:
        (definition,) = resources(file, "Custom::Definition").values()
        assert definition["Properties"]["Bundle"] == {"Ref": "Define.Version"}
        assert definition["Properties"]["ToolsFunction"]["Fn::If"] == [
            "OwnTools",
            {"Ref": "Tools.Alias"},
            {"Ref": "AWS::NoValue"},
        ]

    @pytest.mark.parametrize("file", cases, ids=map(name_of, cases))
    def test_has_no_tools_function_where_the_application_runs_them(self, file: Path) -> None:
        loaded = template(file)
        for name, each in loaded["Resources"].items():
            if name.startswith("Tools"):
                assert each["Condition"] == "OwnTools"
        assert loaded["Parameters"]["ToolsIn"]["Default"] == "function"
        assert template(ROOT)["Parameters"]["ToolsIn"]["Default"] == "application"

    def test_are_alike_but_for_their_agents_and_what_is_scheduled(self) -> None:
        plain = {
            re.sub(
                r"default|restaurant_order|the reception|the pizza shop",
                "",
                file.read_text().replace('Default: "', "").replace("Default", ""),
            )
            for file in self.cases
            if file.parent.name != "apartment_search"
        }
        assert len(plain) == 1


class TestEveryStack:
    @each_stack
    def test_says_what_to_do_next(self, file: Path) -> None:
        assert template(file)["Outputs"]["NextStep"]["Value"]
        assert all(each["Description"] for each in template(file)["Outputs"].values())

    @each_stack
    def test_exports_nothing(self, file: Path) -> None:
        # An exported value cannot change while another stack imports it.
        assert [o for o in template(file)["Outputs"].values() if "Export" in o] == []
        assert "ImportValue" not in file.read_text()

    @each_stack
    def test_has_no_fixed_names(self, file: Path) -> None:
        fixed = {
            "FunctionName", "RoleName", "QueueName", "TableName", "LogGroupName", "AlarmName",
            "DashboardName", "TopicName", "Name",
        }  # fmt: skip
        for name, each in template(file)["Resources"].items():
            for key in fixed & set(each["Properties"]):
                value = each["Properties"][key]
                assert not isinstance(value, str), f"{name} has the {key} {value}"

    @each_stack
    def test_is_for_any_region_account_and_partition(self, file: Path) -> None:
        text = file.read_text()
        assert not re.search(r"(us|eu|ap|sa|ca|me|af)-(north|south|east|west|central)\w*-\d", text)
        assert not re.search(r"\d{12}", text.replace("1209600", ""))
        assert "arn:aws" not in text
        assert "execute-api.${AWS::Region}.amazonaws.com" not in text

    @each_stack
    def test_tags_what_it_makes(self, file: Path) -> None:
        for name, each in template(file)["Resources"].items():
            if "Tags" in each["Properties"]:
                assert "voxyray" in list(texts(each["Properties"]["Tags"])), name
        kinds = {"AWS::Serverless::Function", "AWS::SQS::Queue", "AWS::IAM::Role"}
        for kind in kinds | {"AWS::Logs::LogGroup", "AWS::DynamoDB::Table"}:
            assert all("Tags" in each["Properties"] for each in resources(file, kind).values())

    @each_stack
    def test_alarms_stay_silent_without_data_and_tell_the_topic(self, file: Path) -> None:
        for alarm in resources(file, "AWS::CloudWatch::Alarm").values():
            assert alarm["Properties"]["TreatMissingData"] == "notBreaching"
            assert alarm["Properties"]["AlarmActions"]["Fn::If"][1] == [{"Ref": "AlarmTopic"}]


class TestDashboard:
    def test_is_json_and_names_metrics_of_resources_there_are(self) -> None:
        text = resource("application", "Dashboard")["Properties"]["DashboardBody"]["Fn::Sub"]
        body = json.loads(text)
        assert len({each["properties"]["title"] for each in body["widgets"]}) == 10
        named = {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", text)}
        loaded = template(file_of("application"))
        assert named - {"AWS::Region", "AWS::StackName"} <= {
            *loaded["Resources"],
            *loaded["Parameters"],
        }

    def test_and_alarms_name_metrics_that_are_counted(self) -> None:
        loaded = template(file_of("application"))["Resources"]
        text = loaded["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        named = set(re.findall(r'"(voxyray_\w+)"', text))
        for alarm in resources(file_of("application"), "AWS::CloudWatch::Alarm").values():
            if str(alarm["Properties"].get("Namespace", "")).find("voxyray") >= 0:
                named.add(alarm["Properties"]["MetricName"])
        assert named
        assert named <= {each.name for each in metrics.CATALOGUE}


class TestNesting:
    root = template(ROOT)

    def test_holds_every_stack(self) -> None:
        assert sorted(file for file, _ in CHILDREN.values()) == sorted(STACKS)

    @pytest.mark.parametrize("name", list(CHILDREN))
    def test_gives_what_is_required_and_nothing_unknown(self, name: str) -> None:
        file, given = CHILDREN[name]
        parameters = template(file)["Parameters"]
        required = {each for each, value in parameters.items() if "Default" not in value}
        assert required <= set(given) <= set(parameters)

    @pytest.mark.parametrize("name", list(CHILDREN))
    def test_passes_outputs_on_by_their_name(self, name: str) -> None:
        _, given = CHILDREN[name]
        for parameter, value in given.items():
            if "Fn::GetAtt" in value:
                source, _, output = value["Fn::GetAtt"].partition(".Outputs.")
                assert output == parameter
                assert output in template(CHILDREN[source][0])["Outputs"]
            elif "Ref" in value and parameter not in ("ReservedConcurrency", "HttpApi"):
                assert value["Ref"] == parameter

    @pytest.mark.parametrize("name", list(CHILDREN))
    def test_every_stack_gets_all_that_others_tell(self, name: str) -> None:
        file, given = CHILDREN[name]
        told = {each for other in STACKS for each in template(other)["Outputs"]}
        assert set(template(file)["Parameters"]) & told <= set(given)

    @pytest.mark.parametrize("name", list(CHILDREN))
    def test_no_setting_of_all_stops_short_of_a_stack(self, name: str) -> None:
        file, given = CHILDREN[name]
        assert set(template(file)["Parameters"]) & set(self.root["Parameters"]) <= set(given)

    def test_accepts_what_the_children_accept(self) -> None:
        for file, given in CHILDREN.values():
            parameters = template(file)["Parameters"]
            for name, value in given.items():
                if value == {"Ref": name} and name in self.root["Parameters"]:
                    ours, theirs = self.root["Parameters"][name], parameters[name]
                    assert ours["Type"] == theirs["Type"]
                    assert ours.get("AllowedValues") == theirs.get("AllowedValues"), name

    def test_one_url_for_webhooks(self) -> None:
        for name in ("Application", "SendMessage", "SendEmail"):
            assert CHILDREN[name][1]["PublicUrl"] == {
                "Fn::Sub": "https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"
            }
        assert CHILDREN["Voice"][1]["HttpApi"] == {"Ref": "HttpApi"}


class TestSecrets:
    @each_stack
    def test_are_told_by_a_path_or_an_arn_that_is_one(self, file: Path) -> None:
        secrets = template(file)["Parameters"].get("Secrets")
        if secrets is None:
            return
        allowed = re.compile(secrets["AllowedPattern"])
        assert allowed.match("ssm:/voxyray/live/")
        assert allowed.match("secretsmanager:arn:aws:secretsmanager:eu-west-1:1:secret:voxyray-Ab1")
        for wrong in (
            "",
            "ssm:/",
            "ssm:/voxyray",
            "ssm:/voxyray/*/",
            "secretsmanager:*",
            "sk-1234",
        ):
            assert not allowed.match(wrong), wrong


class TestBundle:
    def test_holds_what_is_tested_with(self) -> None:
        pinned = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)
        ours = dict(pinned.findall((AWS / "requirements.txt").read_text()))
        tested = dict(pinned.findall((REPOSITORY / "requirements/dev.txt").read_text()))
        assert ours.items() <= tested.items()

    def test_holds_every_dependency_that_functions_use(self) -> None:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        ours = {re.split(r"\W", each)[0] for each in project["dependencies"]}
        lines = (AWS / "requirements.in").read_text().splitlines()
        # The command line's, and the loop of hosts with many callers in one process.
        assert ours - {each for each in lines if not each.startswith("#")} == {
            "click",
            "rich",
            "uvloop",
        }

    @pytest.mark.parametrize("file", ["requirements/sam.txt", "deploy/aws/requirements.txt"])
    def test_is_pinned_by_hash_from_nowhere_in_particular(self, file: str) -> None:
        text = (REPOSITORY / file).read_text()
        assert "://" not in text
        assert text.count("==") <= text.count("--hash=sha256:")
