"""The service that the environment names."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from avatarpool.config import SessionConfig
from avatarpool.exceptions import ConfigurationError

_REQUIRED = (
    "api_key",
    "app_id",
    "console_endpoint",
    "ingress_endpoint",
    "session_avatar_id",
)


class Settings(BaseSettings):
    """The ``AVATAR_*`` variables; an empty one counts as not set.

    Attributes:
        api_key: Key for the console.
        app_id: The application the key belongs to.
        console_endpoint: Base URL for session tokens.
        ingress_endpoint: Base URL of the WebSocket.
        session_avatar_id: The avatar to animate.
        use_query_auth: Send credentials in the URL's query and not in headers.
    """

    model_config = SettingsConfigDict(
        env_prefix="AVATAR_",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    api_key: SecretStr = SecretStr("")
    app_id: str = ""
    console_endpoint: str = ""
    ingress_endpoint: str = ""
    session_avatar_id: str = ""
    use_query_auth: bool = False

    @property
    def missing(self) -> list[str]:
        """The required variables that are not set."""
        return [variable(name) for name in _REQUIRED if not getattr(self, name)]

    @property
    def is_empty(self) -> bool:
        """Whether none of the required variables is set."""
        return len(self.missing) == len(_REQUIRED)

    def session_config(self) -> SessionConfig:
        """Describe a session with that service."""
        return SessionConfig(
            api_key=self.api_key.get_secret_value(),
            app_id=self.app_id,
            console_endpoint_url=self.console_endpoint,
            ingress_endpoint_url=self.ingress_endpoint,
            avatar_id=self.session_avatar_id,
            use_query_auth=self.use_query_auth,
        )


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"AVATAR_{name.upper()}"


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Read the given variables in place of the process's own."""
    return Settings.model_validate(
        {name.removeprefix("AVATAR_").lower(): value for name, value in environment.items()}
    )


def read_settings() -> Settings:
    """Read the environment; all of the service's variables or none.

    Raises:
        ConfigurationError: Some are missing, or one cannot work; all are named.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        problems = [
            f"{variable(str(problem['loc'][0]))}: {problem['msg'].lower()}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigurationError("the environment cannot be used", problems) from None
    if settings.is_empty:
        return settings
    if settings.missing:
        raise ConfigurationError(
            "the environment is incomplete: set these too, or none for a local service",
            [", ".join(settings.missing)],
        )
    settings.session_config().validate()
    return settings
