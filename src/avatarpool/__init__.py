"""avatarpool: warm avatar sessions, lent one request at a time."""
