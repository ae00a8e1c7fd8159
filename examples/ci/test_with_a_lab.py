"""The fixture `vfab_lab` comes with virtfab: each lab is a fresh copy, and goes with its test."""

from netvirt import Nic


def test_a_frame_goes_from_port_to_port(vfab_lab):
    lab = vfab_lab("../backend/lab.fab.yml")
    with Nic.connect(lab["VFAB_PORT_S1_ETH2"]) as nic:
        assert nic.carrier
    assert lab["NBD_URI"].startswith("nbd+unix:///disk")
