"""Deploys voxyray to AWS: `make deploy`, guided by settings.toml and nothing else.

    deploy.py                              all stacks as one
    deploy.py --only database              one alone; what it needs, it takes from the others
    deploy.py --dry-run                    show what would be run

Secrets are taken from the environment, or asked for, and stored encrypted; they are never printed.
"""

from __future__ import annotations

import functools
import getpass
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxyray.aws.clients import client, code_of, explain
from voxyray.errors import SettingsError
from voxyray.settings import VARIABLES

HERE: Final = Path(__file__).resolve().parent
ALL: Final = "all"
_ORDER: Final = ("database", "send-message", "send-email", "application", "voice")
# Kept as SecureStrings; the first is needed by everyone.
SECRETS: Final = (
    "twilio_auth_token",
    "twilio_account_sid",
    "twilio_secondary_auth_token",
    "openai_api_key",
    "sendgrid_api_key",
    "smtp_username",
    "smtp_password",
)
_STACK: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
_PARAMETER: Final = re.compile(r"[^\"\\\n]*")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What settings.toml may hold.

    stack: the name of the stack; stacks deployed alone are called `stack-folder`.
    region: empty takes AWS_REGION. parameters: of template.yaml.
    """

    stack: str = "voxyray"
    region: str = ""
    tags: dict[str, str] = {}
    parameters: dict[str, str | int] = {}


class _Loader(yaml.SafeLoader):
    """Reads a template as data; what CloudFormation computes is of no interest here."""


_Loader.add_multi_constructor("!", lambda _loader, _tag, _node: None)


def load_settings(file: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: something is missing or wrong; the message names it and the fix.
    """
    try:
        text = file.read_text(encoding="utf-8")
        settings = msgspec.convert(tomllib.loads(text), Settings)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.MsgspecError) as error:
        raise SettingsError(f"{file}: {error}") from error
    region = settings.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    if not region:
        raise SettingsError(f"{file}: region is empty; write one such as eu-central-1")
    if not _STACK.fullmatch(settings.stack):
        raise SettingsError(f"{file}: stack is {settings.stack!r}; use letters, digits and -")
    for name, value in [*settings.parameters.items(), *settings.tags.items()]:
        if not _PARAMETER.fullmatch(str(value)):
            raise SettingsError(f"{file}: {name} holds a quote, a backslash or a line break")
    known = set().union(*(parameters_of(stack) for stack in stacks()))
    for name in settings.parameters:
        if name not in known:
            raise SettingsError(
                f"{file}: there is no parameter {name!r}; there are {', '.join(sorted(known))}"
            )
    return msgspec.structs.replace(settings, region=region)


def stacks() -> list[str]:
    """List what can be deployed: all stacks as one, and each alone, in order."""
    found = [file.parent.relative_to(HERE).as_posix() for file in HERE.glob("*/template.yaml")]
    cases = [
        file.parent.relative_to(HERE).as_posix() for file in HERE.glob("use-cases/*/template.yaml")
    ]
    return [ALL, *sorted(found, key=_ORDER.index), *sorted(cases)]


def folder_of(stack: str) -> Path:
    """Give the folder of a stack."""
    return HERE if stack == ALL else HERE / stack


def parameters_of(stack: str) -> dict[str, str | None]:
    """Give the parameters of a stack's template with their defaults; None is required."""
    return {
        name: str(each["Default"]) if "Default" in each else None
        for name, each in _section(stack, "Parameters").items()
    }


@functools.cache
def _section(stack: str, section: str) -> dict[str, dict[str, Any]]:
    text = (folder_of(stack) / "template.yaml").read_text(encoding="utf-8")
    template: dict[str, dict[str, dict[str, Any]]] = yaml.load(text, _Loader)  # noqa: S506 - safe
    return template[section]


def name_of(stack: str, settings: Settings) -> str:
    """Give the name that a stack has in CloudFormation."""
    if stack == ALL:
        return settings.stack
    return f"{settings.stack}-{stack.rpartition('/')[2].replace('_', '-')}"


def values_for(stack: str, settings: Settings, outputs: Mapping[str, str]) -> dict[str, str]:
    """Give every parameter a value: from the settings, else another stack's output, else its own.

    All are given, for CloudFormation keeps the last value of one that is not.

    Raises:
        SettingsError: one that is required has none.
    """
    values = {}
    for name, default in parameters_of(stack).items():
        value = settings.parameters.get(name, outputs.get(name, default))
        if value is None:
            raise SettingsError(
                f"{stack} needs {name}, which no stack deployed as {settings.stack} or "
                f"{settings.stack}-... gives; deploy them in this order: {', '.join(_ORDER)}"
            )
        values[name] = str(value)
    return values


def commands(stack: str, settings: Settings, values: Mapping[str, str]) -> list[list[str]]:
    """Give the commands that build and deploy a stack, to be run in its folder."""
    sam = str(HERE / "sam")
    deploy = [sam, "deploy", "--stack-name", name_of(stack, settings)]
    deploy += ["--region", settings.region, "--resolve-s3", "--no-confirm-changeset"]
    deploy += ["--no-fail-on-empty-changeset", "--capabilities", "CAPABILITY_IAM"]
    deploy += ["CAPABILITY_AUTO_EXPAND", "--tags", f'application="{settings.stack}"']
    deploy += [f'{name}="{value}"' for name, value in settings.tags.items()]
    if values:
        deploy += ["--parameter-overrides", *(f'{k}="{v}"' for k, v in values.items())]
    return [
        ["make", "--no-print-directory", "-f", str(HERE / "build.mk"), "libraries"],
        [sam, "build", "--build-in-source"],
        deploy,
    ]


def missing_tools() -> list[str]:
    """Tell what this machine lacks, and where to get it."""
    lacks = []
    if shutil.which("make") is None:
        lacks.append("make is missing. On Debian: apt-get install make")
    if shutil.which("uv") is None and not (HERE.parents[1] / ".venv/bin/uv").exists():
        lacks.append("uv is missing: pip install uv")
    if importlib.util.find_spec("boto3") is None:
        lacks.append("boto3 is missing: pip install 'voxyray[aws]'")
    return lacks


def needed_secrets(parameters: Mapping[str, str]) -> list[str]:
    """Give the secrets without which what the parameters ask for cannot work."""
    needed = ["twilio_auth_token"]
    if parameters.get("Sms") == "twilio":
        needed.append("twilio_account_sid")
    if parameters.get("Model", "").startswith("openai:") and not parameters.get("OpenAiBaseUrl"):
        needed.append("openai_api_key")
    if parameters.get("Email") == "sendgrid":
        needed.append("sendgrid_api_key")
    return needed


def parameter_name(path: str, secret: str) -> str:
    """Give the name under which Parameter Store keeps a secret."""
    return path + secret.replace("_", "-")


def store_secrets(values: Mapping[str, str], environ: Mapping[str, str], console: Console) -> None:
    """Put the secrets of the environment where the functions read them; ask for missing ones.

    Raises:
        SettingsError: one that is needed is nowhere, and there is nobody to ask.
    """
    kind, _, path = values["Secrets"].partition(":")
    if kind != "ssm":
        console.print("Secrets stay as they are in Secrets Manager.", style="dim")
        return
    ssm = client("ssm")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=path, WithDecryption=False)
    there = {each["Name"] for page in pages for each in page["Parameters"]}
    given = {name: environ.get(VARIABLES[name], "").strip() for name in SECRETS}
    for name in needed_secrets(values):
        if not given[name] and parameter_name(path, name) not in there:
            given[name] = _asked(VARIABLES[name])
    key = {"KeyId": values["SecretsKeyArn"]} if values.get("SecretsKeyArn") else {}
    for name, value in given.items():
        if value:
            ssm.put_parameter(
                Name=parameter_name(path, name),
                Value=value,
                Type="SecureString",
                Overwrite=True,
                **key,
            )
            console.print(f"Stored {VARIABLES[name]} as {parameter_name(path, name)}.", style="dim")


def _asked(variable: str) -> str:
    if not _is_terminal():
        raise SettingsError(f"{variable} is neither set nor stored yet; set it for this deployment")
    value = getpass.getpass(f"{variable}: ").strip()
    if not value:
        raise SettingsError(f"{variable} is needed; nothing was deployed")
    return value


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def outputs_of(name: str) -> dict[str, str]:
    """Give the outputs of a deployed stack; none if there is no such stack."""
    try:
        found = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except Exception as error:
        if code_of(error) == "ValidationError":
            return {}
        raise
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def outputs_of_others(stack: str, settings: Settings) -> dict[str, str]:
    """Give what the other stacks tell; what was deployed alone wins over all as one."""
    if stack == ALL:
        return {}
    found: dict[str, str] = {}
    for other in stacks():
        if other != stack:
            found |= outputs_of(name_of(other, settings))
    return found


def with_access_log(values: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Switch the log of frames on where API Gateway has the role for it, unless settings tell."""
    asked = "RelayAccessLog" in values and "RelayAccessLog" not in settings.parameters
    if asked and client("apigateway").get_account().get("cloudwatchRoleArn"):
        return {**values, "RelayAccessLog": "on"}
    return dict(values)


def deploy(stack: str, settings: Settings, console: Console) -> None:
    """Store the secrets, build, deploy, and tell what to do next.

    Raises:
        SettingsError: it cannot be done; the message says the fix.
    """
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = settings.region
    try:
        account = client("sts").get_caller_identity()["Account"]
        console.print(f"Account {account}, {settings.region}: {name_of(stack, settings)}")
        values = values_for(stack, settings, outputs_of_others(stack, settings))
        values = with_access_log(values, settings)
        if "Secrets" in values:
            store_secrets(values, os.environ, console)
    except SettingsError:
        raise
    except Exception as error:  # botocore makes its exceptions at run time
        raise SettingsError(f"AWS: {explain(error)}") from error
    for command in commands(stack, settings, values):
        console.print(f"$ {_shown(command)}", style="dim", soft_wrap=True)
        if subprocess.run(command, cwd=folder_of(stack), check=False).returncode:  # noqa: S603 - ours
            raise SettingsError("that failed; what it says is above")
    _show(outputs_of(name_of(stack, settings)), console)


def _shown(command: list[str]) -> str:
    return shlex.join([Path(command[0]).name, *command[1:]])


def _show(outputs: Mapping[str, str], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in sorted(outputs.items()):
        if name != "NextStep":
            table.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    console.print(table)
    if "NextStep" in outputs:
        console.print(Text.assemble(("Next: ", "bold green"), outputs["NextStep"]), soft_wrap=True)


def _dry_run(stack: str, settings: Settings, console: Console) -> None:
    others = [other for other in stacks() if other not in (stack, ALL)] if stack != ALL else []
    told = {name: f"({name} of {other})" for other in others for name in _section(other, "Outputs")}
    values = values_for(stack, settings, told)
    if values.get("Secrets", "").startswith("ssm:"):
        path = values["Secrets"].removeprefix("ssm:")
        needed = ", ".join(VARIABLES[name] for name in needed_secrets(values))
        console.print(f"# secrets go to {path}; needed: {needed}", soft_wrap=True, markup=False)
    for command in commands(stack, settings, values):
        console.print(_shown(command), soft_wrap=True, markup=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="STACK", default=ALL, help="Deploy one stack alone.")
@click.option("--dry-run", is_flag=True, help="Show what would be run, and ask AWS nothing.")
@click.option("--settings", "file", type=click.Path(path_type=Path), default=HERE / "settings.toml")
def main(only: str, dry_run: bool, file: Path) -> None:
    """Deploy voxyray to AWS, guided by settings.toml."""
    console = Console(highlight=False)
    try:
        only = only.rstrip("/")
        if only not in stacks():
            raise SettingsError(f"there is no stack {only!r}; there are {', '.join(stacks())}")
        settings = load_settings(file)
        if dry_run:
            _dry_run(only, settings, console)
            return
        if lacks := missing_tools():
            raise SettingsError("; ".join(lacks))
        deploy(only, settings, console)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
