"""What the functions find when they start: settings, secrets, agents, queues."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from voxyray import logs
from voxyray.aws.clients import client, explain
from voxyray.aws.queues import open_outgoing
from voxyray.aws.remote import remote_tool
from voxyray.errors import SettingsError
from voxyray.loading import load_agents
from voxyray.service import Service
from voxyray.settings import VARIABLES, Settings, load_settings

_log = logging.getLogger(__name__)

_SECRETS_FORMS: Final = (
    "`ssm:/PATH/` for SecureStrings below a path, or `secretsmanager:ARN` for one JSON secret"
)


def open_service(environ: Mapping[str, str] = os.environ) -> Service:
    """Open everything that calls need; this blocks, so do it when the process starts.

    Raises:
        SettingsError: a setting is missing or wrong; the message names it and the fix.
        AgentError: an agent of the bundle cannot be used.
    """
    settings = open_settings(environ)
    logs.set_up_lambda(settings.log_level, settings.log_format)
    if not settings.auth_tokens:
        # A local public URL needs none, and a relay that is deployed alone knows no other.
        raise SettingsError(
            "there is no TWILIO_AUTH_TOKEN, so every call would be refused: store it as "
            "twilio-auth-token where VOXYRAY_SECRETS says"
        )
    folder = environ.get("VOXYRAY_AGENTS", "").strip()
    return Service(
        settings,
        load_agents(folder) if folder else [],
        dispatcher=open_outgoing(environ),
        make_tool=remote_tool,
        clock=time.time,
    )


def open_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings, with the secrets that VOXYRAY_SECRETS names.

    Raises:
        SettingsError: a setting is missing or wrong, or the secrets cannot be read.
    """
    # No process sees a whole call there, so none could tell its trace.
    untraced = {"otlp_endpoint": "", "otlp_traces_endpoint": ""}
    return load_settings(environ, Path("voxyray.toml"), **untraced, **read_secrets(environ))


def read_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Read what VOXYRAY_SECRETS names: settings by name; `twilio-auth-token` is one.

    Raises:
        SettingsError: it names nothing, or what it names cannot be read.
    """
    spec = environ.get("VOXYRAY_SECRETS", "").strip()
    if not spec:
        return {}
    kind, _, name = spec.partition(":")
    readers = {"ssm": _from_parameters, "secretsmanager": _from_secret}
    if kind not in readers or not name:
        raise SettingsError(f"VOXYRAY_SECRETS={spec!r:.200} names no secrets; use {_SECRETS_FORMS}")
    try:
        found = readers[kind](name)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 - botocore makes its exceptions at run time
        raise SettingsError(
            f"VOXYRAY_SECRETS={spec:.200} cannot be read: {explain(error)}"
        ) from None
    if not found:
        raise SettingsError(
            f"VOXYRAY_SECRETS={spec:.200} holds nothing; store at least twilio-auth-token there"
        )
    values = {key.replace("-", "_"): value.strip() for key, value in found.items()}
    for unknown in sorted(set(values) - set(VARIABLES)):
        _log.warning("the secret %r is no setting and is not used", unknown)
        del values[unknown]
    return values


def _from_parameters(path: str) -> dict[str, str]:
    path = path if path.endswith("/") else f"{path}/"
    parameters: list[Any] = []
    pages = client("ssm").get_paginator("get_parameters_by_path")
    for page in pages.paginate(Path=path, WithDecryption=True):
        parameters += page["Parameters"]
    return {each["Name"].removeprefix(path): each["Value"] for each in parameters}


def _from_secret(arn: str) -> dict[str, str]:
    text = client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        # Not chained: a decoder's message may quote what it read.
        raise SettingsError(
            f"the secret {arn:.200} must be a JSON object of texts, such as "
            '{"twilio-auth-token": "..."}'
        ) from None
