from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from avatarpool.protocol.request_ids import generate_log_id


def test_an_id_is_the_time_in_utc_and_twelve_random_characters():
    before = datetime.now(timezone.utc).replace(microsecond=0)
    matched = re.fullmatch(r"(\d{14})_[A-Za-z0-9_-]{12}", generate_log_id())
    assert matched is not None
    made = datetime.strptime(matched[1], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    assert timedelta(0) <= made - before < timedelta(minutes=1)


def test_ids_do_not_repeat():
    assert len({generate_log_id() for _ in range(10_000)}) == 10_000
