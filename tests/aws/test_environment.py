"""What the functions find when they start: secrets as settings, from a real SSM over a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ministack import MiniStack
from voxyray.aws import clients
from voxyray.aws.clients import client
from voxyray.aws.environment import open_service, open_settings, read_secrets
from voxyray.errors import SettingsError

TOKEN = "0123456789abcdef0123456789abcdef"
AGENTS = Path(__file__).parents[2] / "agents"


@pytest.fixture
def cloud(aws: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    clients.forget()
    yield
    clients.forget()


def _store(path: str, **secrets: str) -> None:
    for name, value in secrets.items():
        client("ssm").put_parameter(
            Name=f"{path}{name.replace('_', '-')}", Value=value, Type="SecureString", Overwrite=True
        )


@pytest.mark.usefixtures("cloud")
class TestSecrets:
    def test_parameters_below_a_path_are_settings(self) -> None:
        _store("/one/", twilio_auth_token=TOKEN, openai_api_key=" sk-1 ", twilio_account_sid="AC1")
        _store("/other/", twilio_auth_token="not this one")
        found = {"twilio_auth_token": TOKEN, "openai_api_key": "sk-1", "twilio_account_sid": "AC1"}
        assert read_secrets({"VOXYRAY_SECRETS": "ssm:/one/"}) == found
        assert read_secrets({"VOXYRAY_SECRETS": "ssm:/one"}) == found

    def test_more_than_one_page(self) -> None:
        names = [f"unknown-{number}" for number in range(12)]
        _store("/many/", **dict.fromkeys(names, "x"), twilio_auth_token=TOKEN)
        assert read_secrets({"VOXYRAY_SECRETS": "ssm:/many/"}) == {"twilio_auth_token": TOKEN}

    def test_one_secret_in_json(self) -> None:
        text = json.dumps({"twilio-auth-token": TOKEN})
        made = client("secretsmanager").create_secret(Name="voxyray", SecretString=text)
        assert read_secrets({"VOXYRAY_SECRETS": f"secretsmanager:{made['ARN']}"}) == {
            "twilio_auth_token": TOKEN
        }

    def test_a_secret_that_is_no_object_of_texts_is_not_quoted(self) -> None:
        made = client("secretsmanager").create_secret(Name="odd", SecretString='{"a": ["s3cret"]}')
        with pytest.raises(SettingsError, match="JSON object of texts") as error:
            read_secrets({"VOXYRAY_SECRETS": f"secretsmanager:{made['ARN']}"})
        assert "s3cret" not in repr(error.value.__cause__) + str(error.value)

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("ssm:", "names no secrets"),
            ("vault:x", "names no secrets"),
            ("/one/", "names no secrets"),
            ("ssm:/nothing/here/", "holds nothing"),
            ("secretsmanager:arn:aws:secretsmanager:us-east-1:000000000000:secret:no", "read"),
        ],
    )
    def test_what_cannot_be_read_is_named(self, spec: str, said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            read_secrets({"VOXYRAY_SECRETS": spec})

    def test_the_settings_hold_them(self) -> None:
        _store("/live/", twilio_auth_token=TOKEN)
        settings = open_settings(
            {
                "VOXYRAY_SECRETS": "ssm:/live/",
                "VOXYRAY_PUBLIC_URL": "https://voice.example.com",
                "VOXYRAY_RELAY_URL": "wss://relay.example.com/live",
            }
        )
        assert settings.auth_tokens == (TOKEN,)
        assert settings.relay_url == "wss://relay.example.com/live"
        assert TOKEN not in repr(settings)

    async def test_a_service_opens_with_the_bundle(self) -> None:
        _store("/service/", twilio_auth_token=TOKEN)
        service = open_service(
            {
                "VOXYRAY_SECRETS": "ssm:/service/",
                "VOXYRAY_PUBLIC_URL": "https://voice.example.com",
                "VOXYRAY_STORE": "memory:",
                "VOXYRAY_AGENTS": str(AGENTS),
            }
        )
        assert {"default", "apartment_search", "restaurant_order"} <= set(service.reception.agents)
        await service.close()


def test_a_service_without_a_token_does_not_start() -> None:
    with pytest.raises(SettingsError, match="twilio-auth-token"):
        open_service({"VOXYRAY_STORE": "memory:"})


def test_without_a_name_there_are_no_secrets() -> None:
    assert read_secrets({}) == {}


def test_no_function_traces() -> None:
    """A collector may be named there for others, and the extra is not in the bundle."""
    assert open_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}).traces_url == ""
