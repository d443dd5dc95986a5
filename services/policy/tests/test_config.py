"""Settings: a wrong one is named, and no secret is shown."""

from pathlib import Path

import pytest

from weir_kit.config import ConfigError, load
from weir_policy.config import Config


def environ(folder: Path, **changes: str) -> dict[str, str]:
    (folder / "pepper").write_text("0123456789abcdef0123456789abcdef\n")
    (folder / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
    (folder / "rules.yaml").write_text("rules:\n- {rule: phone, action: block, where: input}\n")
    (folder / "wrong.yaml").write_text("rules:\n- {rule: fone, action: block, where: input}\n")
    (folder / "short").write_text("pepper\n")
    return {
        "WEIR_POLICY_DATABASE_URL": "postgresql://policy:hush@db/policy",
        "WEIR_POLICY_PEPPER_FILE": str(folder / "pepper"),
        "WEIR_ADMISSION_PRIVATE_KEY_FILE": str(folder / "key.pem"),
        **changes,
    }


def test_the_settings_are_read(tmp_path: Path) -> None:
    config = load(Config, environ(tmp_path, WEIR_POLICY_RULES_FILE=str(tmp_path / "rules.yaml")))
    assert config.admission_ttl_s == 60.0
    assert config.rules is not None
    assert len(config.rules.input) == 2
    assert load(Config, environ(tmp_path)).rules is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("WEIR_POLICY_RULES_FILE", "{}/wrong.yaml", "line 2: `fone` is not known"),
        ("WEIR_POLICY_RULES_FILE", "{}/none.yaml", "No such file"),
        ("WEIR_POLICY_PEPPER_FILE", "{}/short", "fewer than 16 bytes"),
        ("WEIR_ADMISSION_TTL_S", "0", "more than 0"),
        ("WEIR_POLICY_DATABASE_URL", "mysql://x", "expected postgresql://"),
        ("WEIR_POLICY_PEPPER_FILE", "", "is not set"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        load(Config, environ(tmp_path, **{variable: value.format(tmp_path)}))
    assert variable in str(fault.value)
    assert said in str(fault.value)
