"""The hub is asked only where it can be reached (common/hub.py)."""

import socket
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from nap.common import hub as module
from nap.common.hub import hub, unreachable


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A network that the test switches on and off, and the switch of a library of the hub."""
    state = SimpleNamespace(on=True, asked=[], library=SimpleNamespace(HF_HUB_OFFLINE=False))

    def connect(address: tuple[str, int], timeout: float) -> nullcontext:
        state.asked.append((address, timeout))
        if not state.on:
            raise socket.gaierror(-2, "Name or service not known")
        return SimpleNamespace(close=lambda: None)  # type: ignore[return-value]

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(module, "getproxies", dict)
    monkeypatch.setitem(sys.modules, "datasets.config", state.library)
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return state


def test_without_a_network_the_libraries_look_at_what_was_fetched_before_and_do_not_wait(connected):
    connected.on = False
    with hub() as absent:
        assert connected.library.HF_HUB_OFFLINE is True
        assert absent == "huggingface.co cannot be reached: Name or service not known"
    assert connected.library.HF_HUB_OFFLINE is False


def test_the_switch_goes_back_after_an_error(connected):
    connected.on = False
    with pytest.raises(KeyError), hub():
        raise KeyError
    assert connected.library.HF_HUB_OFFLINE is False


def test_with_a_network_nothing_is_switched(connected):
    with hub() as absent:
        assert (connected.library.HF_HUB_OFFLINE, absent) == (False, None)
    assert connected.asked == [(("huggingface.co", 443), 2.0)]


def test_another_address_of_the_hub_is_asked(connected, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror:8080")
    assert unreachable() is None and connected.asked[0][0] == ("mirror", 8080)


def test_behind_a_proxy_the_libraries_find_their_way(connected, monkeypatch):
    connected.on = False
    monkeypatch.setattr(module, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert unreachable() is None and not connected.asked


def test_a_user_who_is_offline_by_choice_is_not_asked_for_a_network(connected, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert unreachable() == "HF_HUB_OFFLINE is set" and not connected.asked
