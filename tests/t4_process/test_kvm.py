"""The probe for KVM, held against QEMU's emulation: its smallest guest boots, and one that does not is found out."""

from __future__ import annotations

import pytest

from daemons import kvm
from tests.support import peers
from tests.support.guest.guest import TCG
from tests.support.guest.image import image

pytestmark = pytest.mark.peer("qemu-system-x86_64")


def test_the_smallest_guest_reaches_user_space() -> None:
    answer = kvm.boots(peers.need(kvm.QEMU), image().kernel, TCG, 60.0)
    assert answer == (True, "a guest reached user space")


def test_a_guest_that_gets_nowhere_is_given_up() -> None:
    """-S stands for a kernel that hangs: QEMU runs, and no word comes."""
    answer = kvm.boots(peers.need(kvm.QEMU), image().kernel, (*TCG, "-S"), 0.3)
    assert answer == (False, "QEMU runs, but its guest did not reach user space in 0.3 s")


def test_qemus_own_refusal_is_passed_on() -> None:
    usable, why = kvm.boots(peers.need(kvm.QEMU), image().kernel, ("-accel", "none-such"), 60.0)
    assert not usable
    assert why.startswith("QEMU ended: ") and "none-such" in why


def test_the_answer_is_one_sentence_whatever_the_machine_is() -> None:
    usable, why = kvm.probe(image().kernel)
    assert isinstance(usable, bool)
    assert why and "\n" not in why
