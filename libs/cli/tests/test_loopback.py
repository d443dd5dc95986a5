from weir_cli.loopback import spare_from_proxies


def test_loopback_is_added_to_the_hosts_that_need_no_proxy() -> None:
    environ = {"no_proxy": "intra.example, 127.0.0.1", "http_proxy": "http://proxy:3128"}
    spare_from_proxies(environ)
    assert environ["no_proxy"] == "intra.example,127.0.0.1,localhost"
    assert environ["NO_PROXY"] == environ["no_proxy"]
    assert environ["http_proxy"] == "http://proxy:3128"


def test_doing_it_twice_changes_nothing() -> None:
    environ: dict[str, str] = {}
    spare_from_proxies(environ)
    before = dict(environ)
    spare_from_proxies(environ)
    assert (
        environ == before == {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    )
