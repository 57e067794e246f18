"""Statistics of a pool whose counters add up."""


def stats(**changes):
    return {
        "connections_num": 10,
        "connections_errors": 2,
        "connections_lost": 1,
        "connections_retired": 2,
        "total_connections": 5,
        "available_connections": 3,
        "connections_lent": 1,
        "connections_draining": 1,
        "total_requests_served": 7,
        "requests_num": 9,
        "requests_errors": 1,
    } | changes
