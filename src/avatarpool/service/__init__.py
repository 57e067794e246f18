"""The local avatar service: console, ingress and lip-sync on one port."""

from avatarpool.endpoint.counters import ServiceCounters
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.service.faults import Faults, SessionFault, Step, TokenFault
from avatarpool.service.service import LocalAvatarService

__all__ = [
    "Faults",
    "LocalAvatarService",
    "ServiceCounters",
    "ServiceLimits",
    "SessionFault",
    "Step",
    "TokenFault",
]
