"""The service that the environment names: ``AVATAR_API_KEY`` and the others."""

from __future__ import annotations

import os
from typing import Self

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from avatarpool.config import SessionConfig
from avatarpool.exceptions import ConfigurationError

# Each required setting and the `SessionConfig` field that it becomes.
_FIELDS = {
    "api_key": "api_key",
    "app_id": "app_id",
    "console_endpoint": "console_endpoint_url",
    "ingress_endpoint": "ingress_endpoint_url",
    "session_avatar_id": "avatar_id",
}

_UNUSABLE = "the environment cannot be used"


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

    @classmethod
    def read(cls) -> Self:
        """Read the environment, whatever it lacks.

        Raises:
            ConfigurationError: A variable cannot be understood.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = [
                f"{_variable(str(problem['loc'][0]))}: {problem['msg'].lower()}"
                for problem in error.errors(include_input=False, include_url=False)
            ]
            raise ConfigurationError(_UNUSABLE, problems) from None

    @property
    def missing(self) -> list[str]:
        """The required variables that are not set."""
        return [_variable(name) for name in _FIELDS if not getattr(self, name)]

    @property
    def is_empty(self) -> bool:
        """Whether none of the required variables is set."""
        return len(self.missing) == len(_FIELDS)

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


def _variable(name: str) -> str:
    return f"AVATAR_{name.upper()}"


VARIABLES = tuple(map(_variable, _FIELDS))
"""The required ones."""


def read_settings() -> Settings:
    """Read the environment; all of the service's variables or none.

    Raises:
        ConfigurationError: Some are missing, or one cannot work; all are named.
    """
    settings = Settings.read()
    if settings.is_empty:
        return settings
    if settings.missing:
        raise ConfigurationError(
            "the environment is incomplete: set these too, or none for a local service",
            [", ".join(settings.missing)],
        )
    try:
        settings.session_config().validate()
    except ConfigurationError as error:
        raise ConfigurationError(_UNUSABLE, [*map(_in_variables, error.problems)]) from error
    return settings


def own_api_key() -> str | None:
    """Return the key that a local service of ours is to have, if one is named.

    Whatever the other variables are: those are for its clients.

    Raises:
        ConfigurationError: It can be no header of theirs.
    """
    key = os.environ.get(_variable("api_key"), "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError(
            _UNUSABLE, [f"{_variable('api_key')} has characters that no key has"]
        )
    return key or None


def _in_variables(problem: str) -> str:
    """Name the variable, which the user set, in place of the field that it became."""
    field, _, fault = problem.partition(" ")
    names = {field: _variable(name) for name, field in _FIELDS.items()}
    return f"{names.get(field, field)} {fault}"
