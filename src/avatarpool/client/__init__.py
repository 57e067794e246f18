"""One session from the client's side, ours or a vendor's."""

from avatarpool.client.session import AvatarSession, new_avatar_session

__all__ = ["AvatarSession", "new_avatar_session"]
