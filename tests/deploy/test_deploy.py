"""`make deploy`: from a settings file to commands, secrets and what to do next."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.deploy.stacks import AWS
from tests.support.ministack import MiniStack
from voxyray import settings
from voxyray.aws import clients
from voxyray.errors import SettingsError
from voxyray.settings import VARIABLES

TOKEN = "a-token-that-nobody-may-see"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("voxyray_deploy", AWS / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # msgspec looks annotations up there
    spec.loader.exec_module(module)
    return module


deploy = _loaded()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [*VARIABLES.values(), *(each for each in os.environ if each.startswith("AWS_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    clients.forget()
    yield
    clients.forget()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "settings.toml"
    written.write_text('stack = "line"\nregion = "eu-central-1"\n')
    return written


@pytest.fixture
def cloud(aws: MiniStack, monkeypatch: pytest.MonkeyPatch) -> MiniStack:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    return aws


class Runs:
    """Stands for make and sam: keeps what was run, and deploys a stack of outputs alone."""

    def __init__(self, cloud: MiniStack, outputs: dict[str, str]) -> None:
        self.commands: list[list[str]] = []
        self.folders: list[Path] = []
        self.fails = ""
        self._cloud = cloud
        self._outputs = outputs

    def __call__(self, command: list[str], *, cwd: Path, check: bool) -> Any:
        self.commands.append(command)
        self.folders.append(cwd)
        if self.fails and self.fails in command:
            return subprocess.CompletedProcess(command, 1)
        if "deploy" in command:
            make_stack(self._cloud, command[command.index("--stack-name") + 1], self._outputs)
        return subprocess.CompletedProcess(command, 0)

    def parameters(self) -> dict[str, str]:
        given = self.commands[-1][self.commands[-1].index("--parameter-overrides") + 1 :]
        return {each.partition("=")[0]: each.partition("=")[2].strip('"') for each in given}


def make_stack(cloud: MiniStack, name: str, outputs: dict[str, str]) -> None:
    body = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    formation = cloud.client("cloudformation")
    formation.create_stack(StackName=name, TemplateBody=json.dumps(body))


def clear(cloud: MiniStack) -> None:
    formation, ssm = cloud.client("cloudformation"), cloud.client("ssm")
    for stack in formation.describe_stacks()["Stacks"]:
        formation.delete_stack(StackName=stack["StackName"])
    for found in ssm.describe_parameters()["Parameters"]:
        ssm.delete_parameter(Name=found["Name"])


@pytest.fixture
def runs(cloud: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    outputs = {"PublicUrl": "https://abc.example.com", "NextStep": "voxyray number set +1..."}
    running = Runs(cloud, outputs)
    monkeypatch.setattr(deploy.subprocess, "run", running)
    monkeypatch.setattr(deploy, "missing_tools", list)
    clear(cloud)
    yield running
    clear(cloud)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(deploy.main, [str(each) for each in arguments])


class TestSettingsFile:
    def wrong(self, file: Path, text: str) -> str:
        file.write_text(text)
        with pytest.raises(SettingsError) as caught:
            deploy.load_settings(file, {})
        assert str(file) in str(caught.value)
        return str(caught.value)

    def test_the_shipped_one_can_be_used_as_it_is(self) -> None:
        loaded = deploy.load_settings(AWS / "settings.toml", {"AWS_REGION": "eu-central-1"})
        assert (loaded.stack, loaded.region) == ("voxyray", "eu-central-1")

    def test_everything_wrong_is_named(self, file: Path) -> None:
        head = 'region = "eu-central-1"\n'
        assert "nowhere" in self.wrong(file, 'nowhere = "x"')
        assert "region is empty" in self.wrong(file, 'stack = "line"')
        assert "stack is 'my line'" in self.wrong(file, head + 'stack = "my line"')
        assert "there is no parameter 'Modell'" in self.wrong(
            file, head + "parameters.Modell = 'x'"
        )
        assert "Model holds a quote" in self.wrong(file, head + "parameters.Model = '\"; x=\"'")
        assert "parameters" in self.wrong(file, head + "parameters = 3")
        assert "Invalid value" in self.wrong(file, "region = ")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        result = run("--settings", tmp_path / "no.toml")
        assert result.exit_code == 1
        assert "no.toml" in result.output
        assert "Traceback" not in result.output

    def test_secrets_have_no_place_there(self, file: Path) -> None:
        assert "there is no parameter" in self.wrong(
            file, 'region = "eu-central-1"\n[parameters]\nTwilioAuthToken = "t"'
        )


class TestDryRun:
    def test_shows_what_would_be_run_and_runs_nothing(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deploy.subprocess, "run", None)
        monkeypatch.setattr(deploy, "client", None)
        result = run("--settings", file, "--dry-run")
        assert result.exit_code == 0, result.output
        secrets, libraries, build, deployed = result.output.splitlines()
        assert secrets == "# secrets go to /voxyray/; needed: TWILIO_AUTH_TOKEN"
        assert libraries.startswith("make ")
        assert build == "sam build --build-in-source"
        assert "--stack-name line --region eu-central-1" in deployed
        assert "'Secrets=\"ssm:/voxyray/\"'" in deployed

    @pytest.mark.parametrize("stack", deploy.stacks())
    def test_every_stack_alone(self, file: Path, stack: str) -> None:
        file.write_text(file.read_text() + '[parameters]\nSecrets = "ssm:/line/"\n')
        result = run("--settings", file, "--dry-run", "--only", stack)
        assert result.exit_code == 0, result.output
        assert deploy.name_of(stack, deploy.load_settings(file)) in result.output

    def test_an_unknown_stack_is_answered_with_those_there_are(self, file: Path) -> None:
        result = run("--settings", file, "--only", "nope")
        assert result.exit_code == 1
        assert "use-cases/restaurant_order" in result.output


class TestTools:
    def test_what_is_missing_is_named_with_the_way_to_get_it(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(deploy, "HERE", tmp_path / "deploy/aws")
        lacks = deploy.missing_tools()
        assert "make is missing. On Debian: apt-get install make" in lacks
        assert "uv is missing: pip install uv" in lacks

    def test_nothing_is_begun_without_them(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deploy, "missing_tools", lambda: ["make is missing"])
        monkeypatch.setattr(deploy, "deploy", None)
        result = run("--settings", file)
        assert (result.exit_code, result.output) == (1, "Error: make is missing\n")


class TestDeploying:
    def test_all_as_one(
        self, runs: Runs, cloud: MiniStack, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
        result = run("--settings", file)
        assert result.exit_code == 0, result.output
        assert [command[1] for command in runs.commands[1:]] == ["build", "deploy"]
        assert set(runs.folders) == {AWS}
        stored = cloud.client("ssm").get_parameter(
            Name="/voxyray/twilio-auth-token", WithDecryption=True
        )["Parameter"]
        assert (stored["Value"], stored["Type"]) == (TOKEN, "SecureString")
        assert "https://abc.example.com" in result.output
        assert "Next: voxyray number set" in result.output

    def test_secrets_are_neither_shown_nor_handed_to_others(
        self, runs: Runs, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
        result = run("--settings", file)
        assert TOKEN not in result.output
        assert TOKEN not in str(runs.commands)

    def test_every_parameter_is_given_for_omitted_ones_would_keep_their_last_value(
        self, runs: Runs, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
        file.write_text(file.read_text() + '[parameters]\nModel = "openai:gpt-5.4-mini"\n')
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        assert run("--settings", file).exit_code == 0
        given = runs.parameters()
        assert set(given) == set(deploy.parameters_of("all"))
        assert (given["Model"], given["HandoffTo"]) == ("openai:gpt-5.4-mini", "")

    def test_what_is_stored_already_is_not_asked_for(
        self, runs: Runs, cloud: MiniStack, file: Path
    ) -> None:
        cloud.client("ssm").put_parameter(
            Name="/voxyray/twilio-auth-token", Value=TOKEN, Type="SecureString"
        )
        assert run("--settings", file).exit_code == 0

    def test_what_is_nowhere_is_named_and_nothing_is_deployed(self, runs: Runs, file: Path) -> None:
        result = run("--settings", file)
        assert result.exit_code == 1
        assert "TWILIO_AUTH_TOKEN is neither set nor stored yet" in result.output
        assert runs.commands == []

    def test_a_person_is_asked_without_an_echo(
        self, runs: Runs, cloud: MiniStack, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr(deploy, "_is_terminal", lambda: True)

        def getpass(prompt: str) -> str:
            asked.append(prompt)
            return TOKEN

        monkeypatch.setattr(deploy.getpass, "getpass", getpass)
        result = run("--settings", file)
        assert result.exit_code == 0, result.output
        assert asked == ["TWILIO_AUTH_TOKEN: "]
        assert TOKEN not in result.output

    def test_secrets_manager_is_left_alone(
        self, runs: Runs, cloud: MiniStack, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
        arn = "secretsmanager:arn:aws:secretsmanager:eu-central-1:0:secret:line-Ab1"
        file.write_text(file.read_text() + f'[parameters]\nSecrets = "{arn}"\n')
        assert run("--settings", file).exit_code == 0
        assert cloud.client("ssm").describe_parameters()["Parameters"] == []

    def test_a_command_that_fails_ends_it(
        self, runs: Runs, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
        runs.fails = "build"
        result = run("--settings", file)
        assert result.exit_code == 1
        assert "that failed" in result.output
        assert "deploy" not in runs.commands[-1]

    def test_without_credentials_it_says_how_to_get_some(
        self, runs: Runs, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        result = run("--settings", file)
        assert result.exit_code == 1
        assert "no AWS credentials were found" in result.output

    @pytest.mark.parametrize(
        ("parameters", "needed"),
        [
            ({"Sms": "twilio"}, "twilio_account_sid"),
            ({"Model": "openai:gpt-5.4-mini"}, "openai_api_key"),
            ({"Email": "sendgrid"}, "sendgrid_api_key"),
        ],
    )
    def test_what_is_asked_for_needs_its_secret(
        self, parameters: dict[str, str], needed: str
    ) -> None:
        assert needed in deploy.needed_secrets(parameters)
        assert needed not in deploy.needed_secrets({})

    def test_every_secret_setting_can_be_stored(self) -> None:
        of_servers = {"dashboard_token", "metrics_token"}  # no function serves these pages
        stored = set(deploy.SECRETS)
        assert settings._SECRETS - of_servers <= stored <= set(VARIABLES)

    def test_a_model_of_ones_own_server_needs_no_key(self) -> None:
        parameters = {"Model": "openai:llama", "OpenAiBaseUrl": "https://llm.example.com/v1"}
        assert "openai_api_key" not in deploy.needed_secrets(parameters)


class TestAlone:
    def test_a_stack_takes_what_others_told(self, runs: Runs, cloud: MiniStack, file: Path) -> None:
        make_stack(cloud, "line", {"Table": "old", "RelayRole": "arn:aws:iam::0:role/relay"})
        make_stack(cloud, "line-database", {"Table": "its-own"})
        result = run("--settings", file, "--only", "use-cases/restaurant_order")
        assert result.exit_code == 0, result.output
        given = runs.parameters()
        assert given["RelayRole"] == "arn:aws:iam::0:role/relay"
        assert given["Table"] == "its-own"
        assert given["WebRole"] == ""
        assert "line-restaurant-order" in runs.commands[-1]
        assert set(runs.folders) == {AWS / "use-cases/restaurant_order"}

    def test_without_the_others_it_says_which_come_first(self, runs: Runs, file: Path) -> None:
        result = run("--settings", file, "--only", "voice")
        assert result.exit_code == 1
        assert "voice needs Table" in result.output
        assert "database, send-message" in result.output


class TestAccessLog:
    def test_is_on_where_api_gateway_may_write_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = deploy.Settings()
        log = {"RelayAccessLog": "off"}

        class Gateway:
            role = ""

            def get_account(self) -> dict[str, str]:
                return {"cloudwatchRoleArn": self.role}

        monkeypatch.setattr(deploy, "client", lambda _service: Gateway())
        assert deploy.with_access_log(log, plain) == log
        monkeypatch.setattr(Gateway, "role", "arn")
        assert deploy.with_access_log(log, plain) == {"RelayAccessLog": "on"}
        told = deploy.Settings(parameters=log)
        assert deploy.with_access_log(log, told) == log
        assert deploy.with_access_log({}, plain) == {}
