"""Links over real ZeroMQ sockets on one loop: coming up, coming back, slow receivers, goodbyes."""

from __future__ import annotations

import time

import pytest
import zmq

from netvirt.link import WINDOW
from tests.support.links import frame, hello_message, numbers
from tests.support.world import World


def test_up_frames_both_ways_and_what_the_ends_know_of_each_other(world: World) -> None:
    there, here = world.pair()
    assert (there.driver.peer, here.driver.peer) == ("s1", "h1")
    assert (there.carriers, here.carriers) == ([True], [True])
    there.send(*(frame(n) for n in range(500)))
    here.send(*(frame(n, 1514) for n in range(500)))
    world.until(lambda: len(here.frames) == len(there.frames) == 500)
    assert here.frames == [frame(n) for n in range(500)]
    assert there.frames == [frame(n, 1514) for n in range(500)]
    assert there.driver.statistics()["state"] == here.driver.statistics()["state"] == "up"
    assert there.queue.statistics()["tx_frames"] == 500


def test_many_megabytes_pass_the_window_on_both_sides(world: World) -> None:
    there, here = world.pair()
    sent = [0, 0]
    while min(sent) < 12_000:
        for side, end in enumerate((there, here)):
            while sent[side] < 12_000 and end.queue.append(frame(sent[side], 1514)):
                sent[side] += 1
            end.driver.flush()
        world.loop.run_once(0.01)
    world.until(lambda: len(here.frames) == len(there.frames) == 12_000)
    assert 8 * WINDOW < 12_000 * 1514
    assert numbers(here.frames) == numbers(there.frames) == list(range(12_000))


def test_a_dialer_waits_for_its_listener_and_comes_back_by_itself(world: World) -> None:
    there = world.dial()
    for _ in range(3):
        world.loop.run_once(0.05)
    assert not there.driver.carrier
    for epoch in (1, 2, 3):
        at = world.listener(epoch)
        here = world.port(at)
        world.up(there, here)
        there.send(frame(epoch))
        here.send(frame(10 * epoch))
        world.until(lambda here=here, epoch=epoch: here.frames and numbers(there.frames)[-1:] == [10 * epoch])
        assert numbers(here.frames) == [epoch]
        world.stop(at)
        world.ends.remove(here)
        world.until(lambda: not there.driver.carrier)
    assert there.carriers == [True, False] * 3


def test_nothing_stale_arrives_after_a_restart(world: World) -> None:
    at = world.listener(1)
    world.port(at)
    there = world.dial()
    world.up(there)
    world.stop(at)
    world.ends.pop(0)
    for n in range(100):  # while nobody is there, and that is not known yet
        if there.driver.carrier:
            there.queue.append(frame(n))
        there.driver.flush()
        world.loop.run_once(0)
    world.until(lambda: not there.driver.carrier)
    here = world.port(world.listener(2))
    world.up(here, there)
    there.send(frame(777))
    world.until(lambda: here.frames)
    assert numbers(here.frames) == [777]


def test_a_listener_from_the_past_is_not_believed(world: World) -> None:
    at = world.listener(5)
    world.port(at)
    there = world.dial()
    world.up(there)
    world.stop(at)
    world.ends.pop(0)
    world.until(lambda: not there.driver.carrier)
    here = world.port(world.listener(4))
    world.until(lambda: there.count("stale-epoch"))
    assert not there.driver.carrier
    here.driver.close()


def test_a_caller_from_the_past_is_refused_and_counted(world: World) -> None:
    at = world.listener()
    here = world.port(at)
    young = world.dial(name="s2", epoch=5, role="trunk")
    world.up(young, here)
    young.driver.close()
    world.until(lambda: young.driver.closed and not here.driver.carrier)
    old = world.dial(name="s2", epoch=4, role="trunk")
    world.until(lambda: old.driver.refusal)
    assert "epoch" in old.driver.refusal and not old.driver.carrier
    assert here.count("stale-epoch") == 1 and not here.driver.carrier
    world.up(world.dial(name="s2", epoch=6, role="trunk"), here)


def test_a_second_caller_on_a_taken_port_is_told_so_and_the_first_is_unharmed(world: World) -> None:
    first, here = world.pair()
    second = world.dial(name="h2")
    world.until(lambda: second.driver.refusal)
    assert second.driver.refusal == "port eth1 of s1 is taken by h1"
    first.send(frame(1))
    here.send(frame(2))
    world.until(lambda: here.frames and first.frames)
    assert (first.carriers, here.carriers, second.frames) == ([True], [True], [])
    first.driver.close()
    world.up(second)  # it asked again by itself
    assert here.driver.peer == "h2"


def test_a_port_that_is_not_there_is_refused_with_the_listeners_sentence(world: World) -> None:
    at = world.listener()
    lost = world.dial(port="eth9")
    world.until(lambda: lost.driver.refusal)
    assert lost.driver.refusal == "s1 has no port eth9"
    assert at.counts["refused"] >= 1


def test_everybody_who_asks_at_once_gets_in_when_the_ports_appear(world: World) -> None:
    """More are refused in one turn than are answered: nobody may wait for ever for an answer that never came."""
    at = world.listener()
    lost = [world.dial(port=f"eth{n}", name=f"h{n}") for n in range(40)]
    world.until(lambda: at.counts.get("refused", 0) >= 4)
    for _ in range(20):
        world.loop.run_once(0.01)
    for n in range(40):
        world.port(at, f"eth{n}")
    world.up(*lost)


def test_a_port_taken_away_says_goodbye_and_its_caller_goes_on_asking(world: World) -> None:
    there, here = world.pair()
    here.driver.close()
    world.until(lambda: here.driver.closed and there.driver.refusal)
    assert there.carriers == [True, False]
    world.up(world.port(world.listeners[0]), there)


def test_a_receiver_that_stops_reading_costs_its_own_frames_only(world: World) -> None:
    """The stopped one is a raw socket that was welcomed and never reads; the others get every frame."""
    at = world.listener()
    ports = [world.port(at, f"eth{n}") for n in range(3)]
    stopped = world.stranger()
    stopped.set(zmq.RCVHWM, 1)
    stopped.send(hello_message(port="eth0"))
    good = [world.dial(port=f"eth{n}", name=f"h{n}") for n in (1, 2)]
    world.up(*ports, *good)
    sent = 0
    drops = 0
    for burst in range(300):
        for n in range(20):
            drops += not ports[0].queue.append(frame(20 * burst + n, 1514))
            for port in ports[1:]:
                assert port.queue.append(frame(20 * burst + n, 1514))
            sent += 1
        for port in ports:
            port.driver.flush()
        world.loop.run_once(0)
        assert ports[0].queue.nbytes <= ports[0].queue.limit
        world.until(lambda sent=sent: all(len(end.frames) >= sent - 400 for end in good))
    world.until(lambda: all(len(end.frames) == sent for end in good))
    assert all(numbers(end.frames) == list(range(sent)) for end in good)
    assert drops > 0
    statistics = ports[0].queue.statistics()
    assert statistics["drops"] == {"queue-full": drops}
    assert statistics["tx_bytes"] <= WINDOW, "no more is handed to libzmq than the peer's window"
    assert drops + statistics["tx_frames"] + statistics["waiting_frames"] == sent
    assert ports[0].driver.carrier


# --- goodbye


@pytest.mark.parametrize("who", ["dialer", "listener"])
def test_nothing_that_was_sent_before_a_goodbye_is_lost(world: World, who: str) -> None:
    there, here = world.pair()
    leaver, stayer = (there, here) if who == "dialer" else (here, there)
    for round_number in range(20):
        count = 0
        while leaver.queue.append(frame(count, 1514)) and count < 1000:
            count += 1
        leaver.driver.flush()
        waiting = len(leaver.queue)
        leaver.driver.close()
        assert leaver.carriers[-1] is False
        world.until(lambda leaver=leaver: leaver.driver.closed)
        assert numbers(stayer.frames) == list(range(count + (count == 1000) - waiting))[: len(stayer.frames)]
        assert len(stayer.frames) >= count - waiting
        stayer.frames.clear()
        world.until(lambda: not stayer.driver.carrier)
        if round_number == 19:
            break
        leaver = world.dial() if who == "dialer" else world.port(world.listeners[0])
        world.up(leaver, stayer)


def test_both_leave_at_once(world: World) -> None:
    there, here = world.pair()
    there.send(frame(1))
    here.send(frame(2))
    there.driver.close()
    here.driver.close()
    world.until(lambda: there.driver.closed and here.driver.closed)
    assert (there.carriers, here.carriers) == ([True, False], [True, False])


def test_a_peer_that_never_answers_a_goodbye_is_not_waited_for_long(world: World) -> None:
    here = world.port(world.listener())
    silent = world.stranger()
    silent.send(hello_message())
    world.up(here)
    here.driver.close()
    world.until(lambda: here.driver.closed)
    assert silent.poll(2000)


def test_closing_before_anything_came_of_it(world: World) -> None:
    there = world.dial()
    there.driver.close()
    assert there.driver.closed
    world.until(lambda: True)
    here = world.port(world.listener())
    here.driver.close()
    assert here.driver.closed
    late = world.dial()
    world.until(lambda: late.driver.refusal)


def test_credits_are_not_used_up_by_time(world: World) -> None:
    """An idle link stays usable and has no timer: its loop sleeps without a timeout."""
    there, here = world.pair()
    world.loop.run_once(0)
    began, rounds = time.monotonic(), world.loop.rounds
    while time.monotonic() - began < 0.3:
        world.loop.run_once(0.1)
    assert world.loop.rounds - rounds <= 12
    there.send(frame(1))
    world.until(lambda: here.frames)
