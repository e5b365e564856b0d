"""Hosts: which of them are this machine, so that what is sent to them leaves it nowhere."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine itself: localhost, 127.0.0.0/8 or ::1."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
