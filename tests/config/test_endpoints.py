"""Where umd may listen, and what is refused."""

from __future__ import annotations

import json

from twisted.internet.endpoints import serverFromString

from tests.config.case import ConfigCase
from umd.config.endpoints import endpoint_fields, parse_listen


class ListenTests(ConfigCase):
    def test_invalid_endpoints_are_refused(self) -> None:
        for listen in ('"8080"', '"http:8080"', "8080", "[]", '""', '["tcp:1", 2]', '"tcp:abc"'):
            (mistake,) = self.mistakes(f"http.listen = {listen}")
            self.assertIn('expected a Twisted endpoint string such as "tcp:8080:interface', mistake)
        for listen, why in (
            ("tcp:-1", "the port is not from 0 to 65535"),
            ("tcp6:99999", "the port is not from 0 to 65535"),
            ("tcp", "it needs a port"),
            ("tcp:" + "1" * 5000, "the port is no number"),
            ("tcp:1:backlog=x", "the backlog is no number"),
            ("tcp:1:127.0.0.1:50:more", "tcp has at most 3 parameters"),
            ("tcp:1:port=2", "port is given by its position and by its name"),
            ("tcp:1:interface=nonsense", "the interface is no IP address"),
            ("tcp6:1:interface=\\:x", "the interface is no IP address"),
            ("tcp:1\\", "nothing follows the last backslash"),
            ("tcp:1:a\n=1", 'tcp has no parameter "a\\n"'),
            ("unix:/a:mode=888", "the mode is no number"),
            ("unix:/a:lockfile=yes", "the lockfile is no number"),
            ("unix:", "the path is not of 1 to 107 octets"),
            ("unix:/" + "x" * 107, "the path is not of 1 to 107 octets"),
            ("systemd:", "either an index or a name"),
            ("systemd:domain=INET", "either an index or a name"),
            ("systemd:domain=INET:index=0:name=x", "either an index or a name"),
            ("systemd:domain=X25:index=0", "not INET, INET6 or UNIX"),
            ("systemd:domain=INET:index=-1", "the index is no number"),
            ("systemd:domain=INET:name=", "the name is empty"),
        ):
            (mistake,) = self.mistakes(f"http.listen = {json.dumps(listen)}")
            self.assertIn(why, mistake)
            self.assertLess(len(mistake), 400)

    def test_twisted_accepts_the_same_endpoints(self) -> None:
        """umd checks an endpoint without Twisted, but Twisted is what listens there."""
        for endpoint in (
            "tcp:1", "tcp:1:50", "tcp:1:127.0.0.1", "tcp:1:127.0.0.1:50", "tcp:port=1",
            "tcp:1:interface=\\127.0.0.1:backlog=5", "tcp6:1:50:\\:\\:1", "tcp6:1:interface=\\:\\:",
            "tcp", "tcp:", "tcp:x", "tcp:1:port=2", "tcp:1:inter=x", "tcp:1:127.0.0.1:50:4",
            "tcp:1:backlog=x", "tcp:1:interface=10.0.0.1:interface=127.0.0.1", "tcp6:1:x",
            "unix:/a", "unix:/a\\:b\\=c:660", "unix:/a:mode=888", "unix:/a:lockfile=no",
            "unix:/a:lockfile=0", "unix:/a:666:50:1:more", "unix:address=/a=b", "unix",
        ):  # fmt: skip
            try:
                serverFromString(None, endpoint)
            except (TypeError, ValueError):
                self.assertRaises(ValueError, parse_listen, endpoint)
            else:
                interface = endpoint_fields(endpoint).get("interface", "")
                if interface != "50":  # Twisted takes any text for an address
                    self.assertEqual(parse_listen(endpoint), (endpoint,))

    def test_a_configuration_without_a_listener_is_refused(self) -> None:
        for text in ("http.listen = []", "http.listen = []\nhttp.listen_tls = []"):
            (mistake,) = self.mistakes(text)
            self.assertIn("umd.toml:1: http.listen = []: expected a Twisted endpoint", mistake)
            self.assertIn("or one in http.listen_tls: umd would listen nowhere", mistake)

    def test_https_alone(self) -> None:
        settings = self.read(
            '[http]\nlisten = []\nlisten_tls = "tcp:1:interface=localhost"\n'
            '[tls]\ncertificate = "/c"\nkey = "/k"\n'
        )
        self.assertEqual(settings.http.listen, ())

    def test_required_client_certificates_need_an_authority(self) -> None:
        """Without an authority, no client certificate could be checked."""
        (mistake,) = self.mistakes("[tls]\nclient_required = true")
        expected = "umd.toml:2: tls.client_required = true: expected tls.client_ca beside it"
        self.assertEqual(mistake, expected)

    def test_valid_endpoints(self) -> None:
        for listen in (
            "unix:/a\\:b\\=c:mode=660",
            "systemd:INET:0",
            "systemd:domain=UNIX:name=x",
            "tcp:0:127.0.0.1",
            "tcp6:0:50:\\:\\:1",
        ):
            self.assertEqual(self.read(f"http.listen = '{listen}'").http.listen, (listen,))

    def test_open_addresses_need_allow_anonymous(self) -> None:
        for listen in (
            "tcp:1",
            "tcp:1:interface=0.0.0.0",
            "tcp6:1",
            "tcp:1:interface=10.0.0.1",
            "tcp:1:interface=127.0.0.1:interface=0.0.0.0",
        ):
            (mistake,) = self.mistakes(f'http.listen = "{listen}"')
            self.assertIn(f"anyone who reaches {listen} could end any call", mistake)
            self.read(f'http.listen = "{listen}"\nhttp.allow_anonymous = true')
        for listen in ("tcp:1:interface=127.0.0.2", "tcp:1:interface=localhost", "unix:/x"):
            self.read(f'http.listen = "{listen}"')
