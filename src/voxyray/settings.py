"""Settings: from the environment or `voxyray.toml` (the environment wins), checked at start."""

from __future__ import annotations

import difflib
import os
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from voxyray.errors import SettingsError
from voxyray.handover import parse_target

DEFAULT_PORT: Final = 8080
DEFAULT_MODEL: Final = "openai:gpt-5.4-mini"
OFFLINE: Final = "offline"
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LOG_FORMATS: Final = ("text", "json")
_MOST_DAYS: Final = 36_500  # what expires beyond the year 9999 no store takes
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_LEAST_TOKEN_CHARS: Final = 16
_YES: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "0": False,
    "false": False,
    "no": False,
    "": False,
}

# Setting in voxyray.toml and here -> environment variable.
VARIABLES: Final = {
    "public_url": "VOXYRAY_PUBLIC_URL",
    "socket_url": "VOXYRAY_RELAY_URL",
    "model": "VOXYRAY_MODEL",
    "store": "VOXYRAY_STORE",
    "accept_unsigned": "VOXYRAY_ACCEPT_UNSIGNED",
    "dashboard_token": "VOXYRAY_DASHBOARD_TOKEN",
    "metrics_token": "VOXYRAY_METRICS_TOKEN",
    "prices": "VOXYRAY_PRICES",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "otlp_traces_endpoint": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "handoff_to": "VOXYRAY_HANDOFF_TO",
    "retention_days": "VOXYRAY_RETENTION_DAYS",
    "log_level": "VOXYRAY_LOG_LEVEL",
    "log_format": "VOXYRAY_LOG_FORMAT",
    "twilio_account_sid": "TWILIO_ACCOUNT_SID",
    "twilio_auth_token": "TWILIO_AUTH_TOKEN",
    "twilio_secondary_auth_token": "TWILIO_SECONDARY_AUTH_TOKEN",
    "openai_api_key": "OPENAI_API_KEY",
    "openai_base_url": "OPENAI_BASE_URL",
    "sms": "VOXYRAY_SMS",
    "sms_from": "VOXYRAY_SMS_FROM",
    "email": "VOXYRAY_EMAIL",
    "email_from": "VOXYRAY_EMAIL_FROM",
    "sendgrid_api_key": "SENDGRID_API_KEY",
    "smtp_username": "SMTP_USERNAME",
    "smtp_password": "SMTP_PASSWORD",
}
_SECRETS: Final = {
    "dashboard_token",
    "metrics_token",
    "twilio_auth_token",
    "twilio_secondary_auth_token",
    "openai_api_key",
    "sendgrid_api_key",
    "smtp_password",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How this voxyray is set up.

    public_url: where the carrier reaches us, without a trailing slash; signatures are checked
    against it and nothing else. socket_url: where the carrier opens the WebSocket, if that is not
    `/relay` below the public URL (API Gateway has an address for each). model:
    see `open_model`; empty means OpenAI's if there is a key, else `offline`. store: see
    `open_store`. accept_unsigned: development only, switches signature checks off.
    dashboard_token: what opens the dashboard; without it only this machine sees it. metrics_token:
    the same for `/metrics`. prices: a file like our `prices.toml`, instead of it. otlp_endpoint:
    the collector that traces go to, none if it is empty; otlp_traces_endpoint: its address for
    traces, if that is not `/v1/traces` below. log_format:
    `text` or `json`; empty is text on servers and JSON on Lambda. handoff_to:
    where people are: a number, SIP or client identity, `queue:NAME`, `taskrouter:WW...` or
    `studio:FW...`.
    retention_days: how long calls are kept. sms, email, and what they need: see `open_messengers`.

    Raises:
        SettingsError: a value that cannot work; the message names the setting and the fix.
    """

    public_url: str = f"http://127.0.0.1:{DEFAULT_PORT}"
    socket_url: str = ""
    model: str = ""
    store: str = "sqlite:var/voxyray.sqlite"
    accept_unsigned: bool = False
    dashboard_token: str = ""
    metrics_token: str = ""
    prices: str = ""
    otlp_endpoint: str = ""
    otlp_traces_endpoint: str = ""
    handoff_to: str = ""
    retention_days: int = 30
    log_level: str = "INFO"
    log_format: str = ""
    twilio_account_sid: str = ""
    twilio_auth_token: str = ""
    twilio_secondary_auth_token: str = ""
    openai_api_key: str = ""
    openai_base_url: str = ""
    sms: str = ""
    sms_from: str = ""
    email: str = ""
    email_from: str = ""
    sendgrid_api_key: str = ""
    smtp_username: str = ""
    smtp_password: str = ""

    def __post_init__(self) -> None:
        if not _is_origin(self.public_url):
            raise SettingsError(
                f"VOXYRAY_PUBLIC_URL is {_shown(self.public_url)}; it must be the address the "
                "carrier calls, such as https://voice.example.com, without user, query and fragment"
            )
        if urlsplit(self.public_url).scheme == "http" and not self.is_local:
            raise SettingsError(
                f"VOXYRAY_PUBLIC_URL is {self.public_url!r}; carriers need https:// "
                "(http:// is for this machine only)"
            )
        if self.socket_url and urlsplit(self.socket_url).scheme != (
            "ws" if urlsplit(self.socket_url).hostname in _LOOPBACK else "wss"
        ):
            raise SettingsError(
                f"VOXYRAY_RELAY_URL is {_shown(self.socket_url)}; carriers need wss:// "
                "(ws:// is for this machine only)"
            )
        if self.accept_unsigned and not self.is_local:
            raise SettingsError(
                "VOXYRAY_ACCEPT_UNSIGNED is for this machine only, and VOXYRAY_PUBLIC_URL is "
                "public: unset it, and set TWILIO_AUTH_TOKEN"
            )
        if not self.is_local and not self.twilio_auth_token:
            raise SettingsError(
                "TWILIO_AUTH_TOKEN is not set, so no request could be told from a forged one: "
                "copy it from the first page of the Twilio console"
            )
        if not 1 <= self.retention_days <= _MOST_DAYS:
            raise SettingsError(
                f"VOXYRAY_RETENTION_DAYS is {self.retention_days}; write 1 to {_MOST_DAYS} days"
            )
        if self.log_level not in _LOG_LEVELS:
            raise SettingsError(
                f"VOXYRAY_LOG_LEVEL is {self.log_level[:60]!r}; write {', '.join(_LOG_LEVELS)}"
            )
        if self.log_format not in ("", *_LOG_FORMATS):
            raise SettingsError(
                f"VOXYRAY_LOG_FORMAT is {self.log_format[:60]!r}; write {' or '.join(_LOG_FORMATS)}"
            )
        for name in ("dashboard_token", "metrics_token"):
            token = getattr(self, name)
            if token and len(token) < _LEAST_TOKEN_CHARS:
                raise SettingsError(
                    f"{VARIABLES[name]} has {len(token)} characters, which can be guessed; take "
                    f"{_LEAST_TOKEN_CHARS} or more, such as `openssl rand -hex 16` prints"
                )
        _check_collector("otlp_endpoint", self.otlp_endpoint)
        _check_collector("otlp_traces_endpoint", self.otlp_traces_endpoint)
        if self.handoff_to:
            parse_target(self.handoff_to)  # now, not when the first caller wants a person

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Settings({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # msgspec's own would show secrets
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name in _SECRETS and value else value) for name, value in values]

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the public URL."""
        return urlsplit(self.public_url).hostname in _LOOPBACK

    @property
    def base_url(self) -> str:
        """The public URL without a trailing slash."""
        scheme, _, rest = self.public_url.rstrip("/").partition("://")
        return f"{scheme.lower()}://{rest}"

    @property
    def relay_url(self) -> str:
        """The WebSocket's URL, exactly as it stands in the TwiML and is signed."""
        if self.socket_url:
            return self.socket_url
        return "ws" + self.base_url.removeprefix("http") + "/relay"

    @property
    def traces_url(self) -> str:
        """Where traces are sent to; empty if they are not."""
        if self.otlp_traces_endpoint or not self.otlp_endpoint:
            return self.otlp_traces_endpoint
        return f"{self.otlp_endpoint.rstrip('/')}/v1/traces"

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that signatures are checked with, the primary one first."""
        tokens = (self.twilio_auth_token, self.twilio_secondary_auth_token)
        return tuple(token for token in tokens if token)

    @property
    def model_or_default(self) -> str:
        """The model to use where an agent names none."""
        if self.model:
            return self.model
        return DEFAULT_MODEL if self.openai_api_key else OFFLINE


def load_settings(
    environ: Mapping[str, str] | None = None,
    file: Path = Path("voxyray.toml"),
    **overrides: Any,
) -> Settings:
    """Read the settings; overrides (None is none) win over the environment, that over the file.

    Raises:
        SettingsError: an unknown or unusable setting; the message names it and the fix.
    """
    environ = os.environ if environ is None else environ
    values = {name: _tidy(name, value) for name, value in _from_file(file).items()}
    for name, variable in VARIABLES.items():
        if environ.get(variable, "").strip():
            values[name] = _from_text(name, variable, _tidy(name, environ[variable]))
    values.update({name: value for name, value in overrides.items() if value is not None})
    for name in values:
        if name not in VARIABLES:
            raise SettingsError(f"there is no setting {name!r}{_nearest(name)}")
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from error


def _from_file(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{file}: {error}") from error
    for name in values:
        if name not in VARIABLES:
            raise SettingsError(f"{file} has an unknown setting {name!r}{_nearest(name)}")
    return values


def _from_text(name: str, variable: str, text: str) -> Any:
    if name == "accept_unsigned":
        if text.lower() not in _YES:
            raise SettingsError(f"{variable} is {text[:60]!r}; write true or false")
        return _YES[text.lower()]
    if name == "retention_days":
        if not (text.isdecimal() and len(text) < 10):
            raise SettingsError(f"{variable} is {text[:60]!r}; write a number of days")
        return int(text)
    return text


def _tidy(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name == "log_format":
        return value.strip().lower()
    return value.strip().upper() if name == "log_level" else value.strip()


def _check_collector(name: str, url: str) -> None:
    if url and not _is_origin(url):
        raise SettingsError(
            f"{VARIABLES[name]} is {_shown(url)}; write the collector's address for OTLP over "
            "HTTP, such as http://127.0.0.1:4318 (keys go into OTEL_EXPORTER_OTLP_HEADERS)"
        )


def _is_origin(text: str) -> bool:
    try:
        url = urlsplit(text)
        _ = url.port  # raises beyond 65535
    except ValueError:
        return False
    plain = not (url.query or url.fragment or url.username or url.password)
    blank = any(each.isspace() for each in text)
    return url.scheme in ("https", "http") and bool(url.hostname) and plain and not blank


def _shown(url: str) -> str:
    """Quote a URL without what may be a password."""
    _, at, rest = url.rpartition("@")
    return repr(("***@" if at else "") + rest[:100])


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, VARIABLES, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(VARIABLES)}"


def with_development_token(settings: Settings, file: Path = Path("var/auth-token")) -> Settings:
    """Give local settings without TWILIO_AUTH_TOKEN a token of their own, kept in a file.

    So signatures are checked on a laptop too: the simulated carrier reads the same file.

    Raises:
        SettingsError: the file cannot be written or read.
    """
    if settings.auth_tokens or settings.accept_unsigned:
        return settings
    try:
        token = _kept_token(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"no development token: {error}; set TWILIO_AUTH_TOKEN") from error
    return msgspec.structs.replace(settings, twilio_auth_token=token)


def _kept_token(file: Path) -> str:
    """Read the token; make it if there is none, so that others see it whole or not at all."""
    if file.exists():
        if token := file.read_text(encoding="ascii").strip():
            return token
        file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    draft = file.with_name(f"{file.name}.{token[:8]}")
    try:
        draft.touch(mode=0o600)
        draft.write_text(token, encoding="ascii")
        file.hardlink_to(draft)
    except FileExistsError:
        return file.read_text(encoding="ascii").strip()  # another process was first
    finally:
        draft.unlink(missing_ok=True)
    return token
