"""Which addresses an upstream may have: public ones, and where allowed those of private networks.

A list of what may be, not of what may not: what is set aside for anything else is refused.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

PRIVATE = (
    *(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),  # this machine
    *(IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")),
    IPv4Network("100.64.0.0/10"),  # RFC 6598, which clusters use too
    IPv6Network("fc00::/7"),  # RFC 4193
)
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
# Where clouds tell a machine its secrets, but for those at link-local addresses.
METADATA = {
    ip_address("fd00:ec2::254"),  # AWS
    ip_address("fd20:ce::254"),  # Google Cloud
    ip_address("100.100.100.200"),  # Alibaba Cloud
    ip_address("168.63.129.16"),  # Azure
}


def address_fault(text: str, allow_private: bool) -> str | None:
    """Why an address may not be connected to, such as `is private`; None where it may."""
    try:
        address = _meant(ip_address(text))
    except ValueError:
        return "is no IP address"
    if address.is_link_local:
        return "is link-local"
    if address in METADATA:
        return "is a cloud's metadata service"
    if any(address in network for network in PRIVATE):
        return None if allow_private else "is private"
    odd = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return None if address.is_global and not odd else "is not public"


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
