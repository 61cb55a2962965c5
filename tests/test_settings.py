"""Settings: from everywhere, checked at start, with errors that name the variable and the fix."""

from __future__ import annotations

import io
import multiprocessing
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import rich.console

from voxyray.errors import SettingsError
from voxyray.settings import (
    VARIABLES,
    Settings,
    load_settings,
    with_development_token,
)

PUBLIC = {"VOXYRAY_PUBLIC_URL": "https://voice.example.com", "TWILIO_AUTH_TOKEN": "t"}
NOWHERE = Path("there/is/no/such.toml")


def load(environ: dict[str, str] | None = None, file: Path = NOWHERE, **more: Any) -> Settings:
    return load_settings(environ or {}, file, **more)


class TestSources:
    def test_without_any_it_is_this_machine_and_offline(self) -> None:
        settings = load()
        assert settings.is_local
        assert settings.model_or_default == "offline"
        assert settings.relay_url == "ws://127.0.0.1:8080/relay"

    def test_a_key_chooses_the_default_model(self) -> None:
        assert load({"OPENAI_API_KEY": "k"}).model_or_default.startswith("openai:")
        assert load({"OPENAI_API_KEY": "k", "VOXYRAY_MODEL": "m"}).model_or_default == "m"

    def test_overrides_win_over_the_environment_and_that_over_the_file(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "voxyray.toml"
        file.write_text('model = "file"\nstore = "file"\nretention_days = 7\n')
        settings = load({"VOXYRAY_MODEL": "env", "VOXYRAY_STORE": "env"}, file, store="override")
        assert (settings.model, settings.store, settings.retention_days) == (
            "env",
            "override",
            7,
        )

    def test_an_override_of_none_is_none(self) -> None:
        assert load({"VOXYRAY_MODEL": "env"}, model=None).model == "env"

    @pytest.mark.parametrize("value", ["", "   ", "\n"])
    def test_an_empty_variable_counts_as_unset(self, value: str) -> None:
        assert load({"VOXYRAY_MODEL": value}).model == ""

    def test_blanks_around_values_are_cut_wherever_they_stand(self, tmp_path: Path) -> None:
        file = tmp_path / "voxyray.toml"
        file.write_text('public_url = " https://voice.example.com/\\n"\ntwilio_auth_token = " t "')
        settings = load({"VOXYRAY_MODEL": " m\n"}, file)
        assert settings.relay_url == "wss://voice.example.com/relay"
        assert settings.auth_tokens == ("t",)
        assert settings.model == "m"

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1", True), ("true", True), ("YES", True), ("0", False), ("False", False), ("no", False)],
    )
    def test_switches(self, text: str, value: bool) -> None:
        assert load({"VOXYRAY_ACCEPT_UNSIGNED": text}).accept_unsigned is value

    @pytest.mark.parametrize("text", ["debug", "Debug", "DEBUG"])
    def test_log_levels_in_any_case(self, text: str) -> None:
        assert load({"VOXYRAY_LOG_LEVEL": text}).log_level == "DEBUG"

    @pytest.mark.parametrize("text", ["json", "JSON", " Json "])
    def test_log_formats_in_any_case(self, text: str) -> None:
        assert load({"VOXYRAY_LOG_FORMAT": text}).log_format == "json"

    def test_every_setting_has_a_variable(self) -> None:
        assert set(VARIABLES) == set(Settings.__struct_fields__)


class TestUrls:
    def test_where_traces_go(self) -> None:
        base = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318/"}
        own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t.example/in"}
        assert load().traces_url == ""
        assert load(base).traces_url == "http://127.0.0.1:4318/v1/traces"
        assert load(own).traces_url == load({**base, **own}).traces_url == "https://t.example/in"

    @pytest.mark.parametrize(
        ("url", "relay"),
        [
            ("https://voice.example.com", "wss://voice.example.com/relay"),
            ("https://voice.example.com/", "wss://voice.example.com/relay"),
            ("https://voice.example.com:8443/phone/", "wss://voice.example.com:8443/phone/relay"),
            ("HTTPS://voice.example.com", "wss://voice.example.com/relay"),
            ("http://localhost:9000", "ws://localhost:9000/relay"),
            ("http://[::1]:9000", "ws://[::1]:9000/relay"),
        ],
    )
    def test_the_relay_is_where_the_public_url_says(self, url: str, relay: str) -> None:
        assert load({**PUBLIC, "VOXYRAY_PUBLIC_URL": url}).relay_url == relay


BAD: list[tuple[dict[str, str], str, str]] = [
    ({"VOXYRAY_PUBLIC_URL": "voice.example.com"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "ftp://voice.example.com"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "wss://voice.example.com"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://a.example?x=1"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://a.example#x"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://[::1"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://a.example:99999"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://a b.example"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://ada:pw@a.example"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "http://voice.example.com"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "http://0.0.0.0:8080"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "http://localhost.evil.example"}, "VOXYRAY_PUBLIC_URL", "https://"),
    ({"VOXYRAY_PUBLIC_URL": "https://voice.example.com"}, "TWILIO_AUTH_TOKEN", "console"),
    (
        {**PUBLIC, "TWILIO_AUTH_TOKEN": "", "TWILIO_SECONDARY_AUTH_TOKEN": "t"},
        "TWILIO_AUTH_TOKEN",
        "console",
    ),
    ({**PUBLIC, "VOXYRAY_ACCEPT_UNSIGNED": "1"}, "VOXYRAY_ACCEPT_UNSIGNED", "unset"),
    ({"VOXYRAY_ACCEPT_UNSIGNED": "perhaps"}, "VOXYRAY_ACCEPT_UNSIGNED", "true or false"),
    ({"VOXYRAY_RETENTION_DAYS": "0"}, "VOXYRAY_RETENTION_DAYS", "1"),
    ({"VOXYRAY_RETENTION_DAYS": "-1"}, "VOXYRAY_RETENTION_DAYS", "days"),
    ({"VOXYRAY_RETENTION_DAYS": "1.5"}, "VOXYRAY_RETENTION_DAYS", "days"),
    ({"VOXYRAY_RETENTION_DAYS": "²"}, "VOXYRAY_RETENTION_DAYS", "days"),
    ({"VOXYRAY_RETENTION_DAYS": "9" * 5000}, "VOXYRAY_RETENTION_DAYS", "days"),
    ({"VOXYRAY_RETENTION_DAYS": "99999999"}, "VOXYRAY_RETENTION_DAYS", "days"),
    ({"VOXYRAY_LOG_LEVEL": "LOUD"}, "VOXYRAY_LOG_LEVEL", "DEBUG"),
    ({"VOXYRAY_LOG_FORMAT": "xml"}, "VOXYRAY_LOG_FORMAT", "text or json"),
    ({"VOXYRAY_METRICS_TOKEN": "short"}, "VOXYRAY_METRICS_TOKEN", "openssl"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
    (
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://k:e@y.example"},
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ),
    ({"VOXYRAY_HANDOFF_TO": "my mother"}, "VOXYRAY_HANDOFF_TO", "+18005550100"),
    ({"VOXYRAY_HANDOFF_TO": "555-0100"}, "VOXYRAY_HANDOFF_TO", "+18005550100"),
]


class TestErrors:
    @pytest.mark.parametrize(("environ", "variable", "fix"), BAD, ids=lambda value: str(value)[:60])
    def test_the_message_names_the_variable_and_the_fix(
        self, environ: dict[str, str], variable: str, fix: str
    ) -> None:
        with pytest.raises(SettingsError) as error:
            load(environ)
        print(error.value)  # noqa: T201 - to be read with -s
        assert variable in str(error.value)
        assert fix in str(error.value)
        assert len(str(error.value)) < 300
        assert ":pw@" not in str(error.value)

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("modell = 'x'", "did you mean 'model'"),
            ("weather = 'x'", "public_url"),
            ("retention_days = '7'", "retention_days"),
            ("retention_days = 7.5", "retention_days"),
            ("model = 7", "model"),
            ("accept_unsigned = 'yes'", "accept_unsigned"),
            ("[voxyray]\nmodel = 'x'", "voxyray"),
            ("model = ", "voxyray.toml"),
            ("model = 'x'\nmodel = 'y'", "voxyray.toml"),
        ],
    )
    def test_a_file_that_is_wrong(self, tmp_path: Path, text: str, named: str) -> None:
        file = tmp_path / "voxyray.toml"
        file.write_text(text)
        with pytest.raises(SettingsError) as error:
            load({}, file)
        print(error.value)  # noqa: T201 - to be read with -s
        assert named in str(error.value)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        binary = tmp_path / "voxyray.toml"
        binary.write_bytes(b"\xff\xfe")
        for file in (binary, tmp_path):
            with pytest.raises(SettingsError, match=str(file)):
                load({}, file)

    def test_an_override_that_is_no_setting(self) -> None:
        with pytest.raises(SettingsError, match="did you mean 'public_url'"):
            load(publik_url="https://voice.example.com")


SECRETS = {
    "TWILIO_AUTH_TOKEN": "secret-token-1",
    "TWILIO_SECONDARY_AUTH_TOKEN": "secret-token-2",
    "OPENAI_API_KEY": "sk-secret-3",
}


class TestSecrets:
    def test_no_secret_is_ever_shown(self) -> None:
        settings = load(SECRETS)
        console = rich.console.Console(file=io.StringIO(), width=500)
        console.print(settings)
        output = console.file
        assert isinstance(output, io.StringIO)
        for shown in (repr(settings), str(settings), f"{settings}", output.getvalue()):
            assert "secret" not in shown
            assert "***" in shown

    def test_what_is_not_set_is_not_masked(self) -> None:
        assert "***" not in repr(load())

    def test_no_secret_is_in_an_error(self, tmp_path: Path) -> None:
        file = tmp_path / "voxyray.toml"
        file.write_text('twilio_auth_token = ["secret-token"]\n')
        with pytest.raises(SettingsError) as error:
            load({}, file)
        assert "secret" not in str(error.value)


def _make_token(file: str, gate: Any, tokens: Any) -> None:
    gate.wait()
    settings = with_development_token(Settings(), Path(file))
    tokens.put(settings.twilio_auth_token)


class TestDevelopmentToken:
    def test_it_is_made_once_and_kept(self, tmp_path: Path) -> None:
        file = tmp_path / "var" / "auth-token"
        first = with_development_token(Settings(), file)
        assert len(first.twilio_auth_token) == 32
        assert with_development_token(Settings(), file) == first
        if sys.platform != "win32":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_a_token_of_ones_own_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "auth-token"
        settings = Settings(twilio_auth_token="mine")
        assert with_development_token(settings, file) is settings
        unsigned = Settings(accept_unsigned=True)
        assert with_development_token(unsigned, file) is unsigned
        assert not file.exists()

    @pytest.mark.parametrize("content", ["", "\n", "  "])
    def test_a_file_without_a_token_is_filled(self, tmp_path: Path, content: str) -> None:
        """A process that was killed between making and writing the file leaves it empty."""
        file = tmp_path / "auth-token"
        file.write_text(content)
        token = with_development_token(Settings(), file).twilio_auth_token
        assert len(token) == 32
        assert file.read_text().strip() == token

    def test_processes_that_start_together_agree(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        gate, tokens = context.Event(), context.Queue()
        file = str(tmp_path / "var" / "auth-token")
        processes = [
            context.Process(target=_make_token, args=(file, gate, tokens)) for _ in range(3)
        ]
        for process in processes:
            process.start()
        gate.set()
        found = {tokens.get(timeout=30) for _ in processes}
        for process in processes:
            process.join(30)
        tokens.close()
        tokens.join_thread()
        assert len(found) == 1
        assert all(found)

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
            with_development_token(Settings(), blocked / "auth-token")

    def test_a_file_that_holds_no_text(self, tmp_path: Path) -> None:
        file = tmp_path / "auth-token"
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
            with_development_token(Settings(), file)
