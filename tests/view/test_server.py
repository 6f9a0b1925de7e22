"""Who may talk to the page's server."""

from __future__ import annotations

import pytest

viser = pytest.importorskip("viser")
client = pytest.importorskip("websockets.sync.client")

from websockets.exceptions import InvalidStatus  # noqa: E402

from mbrl_node.view.server import serve  # noqa: E402


@pytest.fixture(scope="module")
def server():
    it = serve(0)
    yield it
    it.stop()


def connect(server, origin: str | None) -> None:
    url = f"ws://127.0.0.1:{server.get_port()}"
    with client.connect(url, origin=origin, subprotocols=[f"viser-v{viser.__version__}"]):
        pass


def test_it_listens_on_this_machine_only(server):
    assert server.get_host() == "127.0.0.1"


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "http://localhost:9000", None])
def test_its_own_page_may_talk_to_it_through_a_tunnel_too(server, origin):
    connect(server, origin)


@pytest.mark.parametrize(
    "origin",
    ["http://example.org", "http://127.0.0.1.example.org", "https://localhost.evil", "null"],
)
def test_pages_of_others_that_are_open_in_the_same_browser_may_not(server, origin):
    with pytest.raises(InvalidStatus, match="403"):
        connect(server, origin)


def test_nobody_can_have_it_shared_over_the_internet(server):
    assert server.request_share_url() is None


def test_a_port_that_is_taken_means_the_next(server):
    other = serve(server.get_port())
    assert server.get_port() < other.get_port() < server.get_port() + 100
    other.stop()
