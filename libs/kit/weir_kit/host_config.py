"""What every Weir process is told, whichever services it hosts."""

from dataclasses import dataclass

from weir_kit.config import REQUIRED, secret_file, setting

LEVELS = ("debug", "info", "warning", "error")


def listen_address(text: str) -> str:
    """`host:port` or `unix:path`."""
    host, colon, port = text.rpartition(":")
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise ValueError("expected host:port or unix:path")
    return text


def service_token(text: str) -> str:
    """The token in a file: printable ASCII, as metadata must be."""
    token = secret_file(text)
    if not all(33 <= byte <= 126 for byte in token):
        raise ValueError("the file must hold printable ASCII without spaces")
    return token.decode("ascii")


def log_level(text: str) -> str:
    """One of `LEVELS`."""
    if text.lower() not in LEVELS:
        raise ValueError(f"expected one of {', '.join(LEVELS)}")
    return text.lower()


@dataclass(frozen=True)
class HostConfig:
    """The process's own settings. Services have theirs."""

    listen: str = setting(
        "WEIR_LISTEN",
        "127.0.0.1:0",
        "host:port (0: any free port) or unix:path of the gRPC server.",
        parse=listen_address,
    )
    service_token: str = setting(
        "WEIR_SERVICE_TOKEN_FILE",
        REQUIRED,
        "File with the token that calls between services carry.",
        parse=service_token,
    )
    gateway_address: str = setting("WEIR_GATEWAY_ADDRESS", "", "host:port of the gateway.")
    tokenizer_address: str = setting("WEIR_TOKENIZER_ADDRESS", "", "host:port of the tokenizer.")
    inference_address: str = setting("WEIR_INFERENCE_ADDRESS", "", "host:port of inference.")
    policy_address: str = setting("WEIR_POLICY_ADDRESS", "", "host:port of policy.")
    billing_address: str = setting("WEIR_BILLING_ADDRESS", "", "host:port of billing.")
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "", "URL of an OpenTelemetry collector; empty: none."
    )
    log_level: str = setting(
        "WEIR_LOG_LEVEL", "info", "debug, info, warning or error.", parse=log_level
    )

    @property
    def addresses(self) -> dict[str, str]:
        """The peers' addresses by service; "" where none is set."""
        return {
            "gateway": self.gateway_address,
            "tokenizer": self.tokenizer_address,
            "inference": self.inference_address,
            "policy": self.policy_address,
            "billing": self.billing_address,
        }
