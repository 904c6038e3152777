"""Settings from a file, variables and flags: which wins, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.config import EngineSettings
from engine.errors import ConfigError
from server.config import Settings, allowed
from server.sources import load


def toml(folder: Path, text: str) -> Path:
    file = folder / "antiphon.toml"
    file.write_text(text)
    return file


def test_without_sources_there_are_the_defaults() -> None:
    settings = load({}, {})
    assert settings == Settings()
    assert isinstance(settings, EngineSettings)
    assert (settings.host, settings.port, settings.origins) == ("127.0.0.1", 8000, ())


def test_flags_win_over_variables_and_these_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'port = 1\nllm_slots = 1\nasr_model = "tiny.en"')
    environ = {"ANTIPHON_PORT": "2", "ANTIPHON_LLM_SLOTS": "2", "PATH": "/bin"}
    settings = load({"config": str(file), "port": "3"}, environ)
    assert (settings.port, settings.llm_slots, settings.asr_model) == (3, 2, "tiny.en")


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = toml(tmp_path, "port = 7")
    assert load({}, {"ANTIPHON_CONFIG": str(file)}).port == 7


def test_settings_are_frozen() -> None:
    settings = load({}, {})
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_an_unknown_key_of_the_file_names_the_nearest(tmp_path: Path) -> None:
    file = toml(tmp_path, 'asr-modle = "base"')
    with pytest.raises(ConfigError, match=r"antiphon\.toml: unknown.*asr-modle.*asr_model\?"):
        load({"config": file}, {})


def test_an_unknown_variable_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"ANTIPHON_PROT; did you mean ANTIPHON_PORT\?"):
        load({}, {"ANTIPHON_PROT": "1"})


def test_variables_of_tests_and_of_the_config_file_are_no_settings() -> None:
    assert load({}, {"ANTIPHON_SPEECH": "/speech", "ANTIPHON_CONFIG": ""}) == Settings()


@pytest.mark.parametrize(
    ("flags", "environ", "says"),
    [
        ({"port": "99999"}, {}, r"^--port: '99999' is refused: .* \(allowed: 0 to 65535\)$"),
        ({}, {"ANTIPHON_LLM_SLOTS": "many"}, r"^ANTIPHON_LLM_SLOTS: 'many' .*1 to 256"),
        ({"device": "gpu"}, {}, r"--device: 'gpu' .*auto or cpu or cuda"),
        ({"vad_threshold": "1"}, {}, r"--vad-threshold: '1' .*above 0 to below 1"),
        ({"origins": "example.org"}, {}, r"'example.org' is no origin"),
        ({"tls_cert": "/absent.pem"}, {}, r"--tls-cert: '/absent.pem' .*not point to a file"),
        ({"config": "/absent.toml"}, {}, r"cannot read the settings file /absent\.toml"),
        ({}, {"ANTIPHON_AUTH_TOKEN": ""}, r"ANTIPHON_AUTH_TOKEN: .*the token is empty"),
    ],
)
def test_a_wrong_value_says_where_it_came_from_and_what_is_allowed(
    flags: dict[str, str], environ: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load(flags, environ)


def test_a_wrong_value_of_the_file_names_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "port = -1")
    with pytest.raises(ConfigError, match=r"port in .*antiphon\.toml: -1 is refused"):
        load({"config": file}, {})


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not TOML: .*line 1"):
        load({"config": toml(tmp_path, "port: 1")}, {})


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tls_cert and tls_key"):
        load({"tls_cert": str(toml(tmp_path, ""))}, {})


def test_origins_are_split_at_commas_and_listed_in_a_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'origins = ["https://a.example", "null"]')
    assert load({"config": file}, {}).origins == ("https://a.example", "null")
    flags = {"origins": "https://a.example/, http://localhost:3000"}
    assert load(flags, {}).origins == ("https://a.example", "http://localhost:3000")


def test_the_token_may_lie_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    settings = load({"auth_token_file": str(file)}, {})
    assert settings.auth_token is not None
    assert settings.auth_token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_two_tokens_are_refused_without_showing_either(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give one") as refusal:
        load({"auth_token_file": "/x"}, {"ANTIPHON_AUTH_TOKEN": "s3cret"})
    assert "s3cret" not in str(refusal.value)


def test_an_empty_or_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the token is empty"):
        load({"auth_token_file": str(toml(tmp_path, "\n"))}, {})
    with pytest.raises(ConfigError, match="cannot read"):
        load({"auth_token_file": str(tmp_path / "absent")}, {})


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_described_and_its_bounds_can_be_told(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    if field.annotation in (int, float):
        assert " to " in allowed(name)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", r"--llm-extra-body: .*not JSON"),
        ("[1]", r"--llm-extra-body: .*JSON object"),
        ('{"model": "m", "x": 1, "stream": false}', r"model, stream: set by the engine itself"),
    ],
)
def test_further_fields_for_a_remote_server_are_a_json_object_of_others(
    body: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load({"llm_extra_body": body}, {})


def test_a_remote_server_needs_an_address_without_a_key_in_it() -> None:
    with pytest.raises(ConfigError, match="needs llm_url"):
        load({"llm": "openai"}, {})
    for url in (
        "http://user:k3y@host/v1",
        "http://k3y@host/v1",
        "http://host/v1?key=k3y",
        "http://host/v1#k3y",
    ):
        with pytest.raises(ConfigError, match="ANTIPHON_LLM_KEY") as refused:
            load({"llm": "openai", "llm_url": url}, {})
        assert "k3y" not in str(refused.value)
    with pytest.raises(ConfigError, match="http://host:port"):
        load({"llm": "openai", "llm_url": "host:80"}, {})
    remote = load({"llm": "openai", "llm_url": "http://host/v1"}, {"ANTIPHON_LLM_KEY": "k"})
    assert remote.llm_model == "auto"
    assert load({}, {}).llm_model == "smollm2-135m-instruct"
