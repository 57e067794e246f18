"""``python -m avatarpool``."""

from __future__ import annotations

from avatarpool.cli.start import main

if __name__ == "__main__":
    main()
