"""Which addresses may be connected to."""

import pytest

from weir_inference.core.upstream_address import address_fault

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.3.4"),
    *("fd12::1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:0a01:0203::1"),
]
NEVER = [
    *("169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254"),
    *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"),
    *("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:0:0:0:0:5601:5601"),
    *("0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255"),
    *("192.0.2.1", "2001:db8::1", "fec0::1", "::2", "llm.example", "", "127.1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert address_fault(address, allow_private=False) is None
    assert address_fault(address, allow_private=True) is None


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_needs_the_operators_word(address: str) -> None:
    assert address_fault(address, allow_private=False) == "is private"
    assert address_fault(address, allow_private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_no_word_allows_metadata_services_and_what_is_no_machine(address: str) -> None:
    assert address_fault(address, allow_private=False)
    assert address_fault(address, allow_private=True)
