"""``python -m avatarpool``."""

from __future__ import annotations

from avatarpool.cli.main import main

if __name__ == "__main__":
    main()
