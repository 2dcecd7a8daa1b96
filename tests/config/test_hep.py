"""The section [hep]: addresses, and what makes it safe."""

from __future__ import annotations

from tests.config.case import ConfigCase
from umd.config.endpoints import split_wire_address


class HepSectionTests(ConfigCase):
    def test_one_address_or_several(self) -> None:
        settings = self.read('[hep]\nlisten = "udp:127.0.0.1:9060"\nsend = ["tcp:[::1]:9061"]\n')
        self.assertEqual(settings.hep.listen, ("udp:127.0.0.1:9060",))
        self.assertEqual(split_wire_address(settings.hep.send[0]), ("tcp", "::1", 9061))

    def test_what_is_no_address(self) -> None:
        for text in (
            "127.0.0.1:9060",
            "udp:localhost:9060",
            "udp:::1:9060",
            "udp:[127.0.0.1]:9060",
            "udp:127.0.0.1:70000",
            "sctp:127.0.0.1:9060",
        ):
            (mistake,) = self.mistakes(f'[hep]\nlisten = "{text}"\n')
            self.assertIn('expected an address such as "udp:127.0.0.1:9060"', mistake)

    def test_other_machines_need_a_password_and_a_known_address(self) -> None:
        """An open port with neither would let anyone claim that calls have ended."""
        listen = '[hep]\nlisten = ["udp:127.0.0.1:9060", "udp:192.0.2.7:9060"]\n'
        password, allow = 'password_file = "p"\n', 'allow = ["192.0.2.0/24"]\n'
        for extra in ("", password, allow):
            (mistake,) = self.mistakes(listen + extra)
            self.assertIn("udp:192.0.2.7:9060", mistake)
            self.assertIn("expected hep.allow and hep.password_file", mistake)
        self.read(listen + password + allow)

    def test_a_collector_has_a_port(self) -> None:
        (mistake,) = self.mistakes('[hep]\nsend = "udp:127.0.0.1:0"\n')
        self.assertIn("expected a port above 0", mistake)
