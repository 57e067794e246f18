"""Who may have a token, and whose session may begin: credentials in, account or refusal out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, Self

from avatarpool.endpoint import refusals
from avatarpool.endpoint.accounts import A_co, Account, Accounts
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.refusals import TokenRefusal, UpgradeRefusal
from avatarpool.endpoint.spent import SpentTokens
from avatarpool.endpoint.tokens import (
    Token,
    TokenExpired,
    TokenInvalid,
    TokenOffice,
    TokenRefused,
    TokensExhausted,
)

_STATUS: dict[type[TokenRefused], int] = {
    TokenInvalid: 400,
    TokenExpired: 401,
    TokensExhausted: 503,
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an upgrade is asked for with.

    Attributes:
        token: The session token.
        app_id: The application that it should be of.
        avatar_id: The avatar that the session is to animate.
        can_upgrade: Whether it is a WebSocket's upgrade at all.
    """

    token: str = field(repr=False)
    app_id: str
    avatar_id: str
    can_upgrade: bool = True

    @classmethod
    def of(cls, headers: Mapping[str, str], query: Mapping[str, str], *, can_upgrade: bool) -> Self:
        """Find them in an upgrade: in headers by default, in the query for browsers.

        Args:
            headers: Found under any spelling of their names.
            query: Decoded.
            can_upgrade: Whether it is a WebSocket's upgrade at all.
        """
        return cls(
            token=headers.get("X-Session-Key") or query.get("sessionKey", ""),
            app_id=headers.get("X-App-ID") or query.get("appId", ""),
            avatar_id=query.get("id", ""),
            can_upgrade=can_upgrade,
        )


class Admission(Generic[A_co]):
    """Decides at both doors: the console's and the ingress's.

    Args:
        accounts: Who may come.
        tokens: Issues and redeems what they come with.
        refuse_avatar: Says why an account may have no session of an avatar now, if it
            may not.
        max_token_lifetime: Seconds that a token may be good for.
        wall_clock: Unix time in seconds.

    Attributes:
        accounts: Who may come.
        tokens: What they come with.
        max_token_lifetime: Seconds that a token may be good for.
        is_closing: Whether nobody is admitted any more.
        refused: Upgrades, ever.
    """

    def __init__(
        self,
        accounts: Accounts[A_co],
        tokens: TokenOffice,
        refuse_avatar: Callable[[A_co, str], UpgradeRefusal | None],
        *,
        max_token_lifetime: float,
        wall_clock: Callable[[], float],
    ) -> None:
        self.accounts = accounts
        self.tokens = tokens
        self._refuse_avatar = refuse_avatar
        self.max_token_lifetime = max_token_lifetime
        self._wall_clock = wall_clock
        self.is_closing = False
        self.refused = 0

    @staticmethod
    def local(
        keys: Mapping[str, str],
        avatar_ids: Collection[str],
        limits: ServiceLimits,
        *,
        wall_clock: Callable[[], float],
    ) -> Admission[Account]:
        """Make one whose accounts and tokens are known in this process alone.

        Args:
            keys: The API key of each application.
            avatar_ids: The avatars there are.
            limits: What is allowed to each.
            wall_clock: Unix time in seconds.
        """
        accounts = Accounts(
            Account(
                app_id,
                api_key,
                balance=limits.credits,
                max_connections=limits.max_connections,
                max_handshakes=limits.max_handshakes,
            )
            for app_id, api_key in keys.items()
        )
        known = frozenset(avatar_ids)

        def refuse_avatar(_: Account, avatar_id: str) -> UpgradeRefusal | None:
            return None if avatar_id in known else refusals.avatar_unknown(avatar_id)

        spent = SpentTokens(limits.max_used_tokens) if limits.single_use_tokens else None
        tokens = TokenOffice(
            wall_clock,
            spent,
            secrets=[secrets.token_bytes(32)],
            fingerprint=accounts.fingerprint,
        )
        return Admission(
            accounts,
            tokens,
            refuse_avatar,
            max_token_lifetime=limits.max_token_lifetime,
            wall_clock=wall_clock,
        )

    # --- the console ---------------------------------------------------------------------

    def applicant(self, api_key: str) -> A_co | TokenRefusal:
        """Return whose key it is."""
        return self.accounts.by_api_key(api_key) or refusals.BAD_API_KEY

    def grant(self, account: Account, body: bytes) -> str | TokenRefusal:
        """Return the token that a request's body asks for."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return refusals.bad_token_request("the body is no JSON")
        expires_at = data.get("expireAt") if isinstance(data, dict) else None
        if not isinstance(expires_at, int) or isinstance(expires_at, bool):
            return refusals.bad_token_request("expireAt is no whole number of Unix seconds")
        now = self._wall_clock()
        if not now < expires_at < now + self.max_token_lifetime:
            hours = self.max_token_lifetime / 3600
            return refusals.bad_token_request(f"expireAt is not within the next {hours:g} h")
        return self.tokens.issue(account.app_id, expires_at)

    # --- the ingress ------------------------------------------------------------------------

    def admit(self, credentials: Credentials) -> A_co | UpgradeRefusal:
        """Return whose session may begin; it counts there until `Account.leave`."""
        admitted = self._admitted(credentials)
        if isinstance(admitted, UpgradeRefusal):
            self.refused += 1
        return admitted

    def _admitted(self, credentials: Credentials) -> A_co | UpgradeRefusal:
        if self.is_closing:
            return refusals.CLOSING
        if not credentials.can_upgrade:
            return refusals.NO_UPGRADE
        try:
            token = self.tokens.redeem(credentials.token)
        except TokenRefused as refusal:
            return UpgradeRefusal(_STATUS[type(refusal)], str(refusal))
        return self._entitled(token, credentials)

    def _entitled(self, token: Token, credentials: Credentials) -> A_co | UpgradeRefusal:
        account = self.accounts.by_app_id(credentials.app_id)
        if account is None:
            return refusals.APP_UNKNOWN
        if token.app_id != credentials.app_id:
            return refusals.APP_MISMATCH
        if refusal := self._refuse_avatar(account, credentials.avatar_id):
            return refusal
        if not account.has_credits:
            return refusals.BILLING
        return account if account.admit() else refusals.TOO_MANY_HANDSHAKES
