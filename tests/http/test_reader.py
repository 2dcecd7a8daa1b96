"""
Reading requests: each check that a server has to add to llhttp.

Every case is read at once, octet by octet, and in pieces of three: the result must be the same.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import umd.http
from tests.http.helpers import SPLITS, chunked, pieces, read, request
from umd.http.head import Head
from umd.http.limits import Limits
from umd.http.reader import NO_MORE_REQUESTS, HeadCache, Part, Reader

TE = "Transfer-Encoding: chunked"


class ReaderCase(SynchronousTestCase):
    def refused(
        self, status: int, octets: bytes, before: int = 0, limits: Limits | None = None
    ) -> None:
        """Assert that octets are refused after `before` good requests, however they are split."""
        for size in SPLITS:
            reader = read(octets, size, limits)
            assert reader.refusal is not None, (octets[:200], size, list(reader.complete))
            self.assertEqual((reader.refusal.status, len(reader.complete)), (status, before), size)

    def accepted(self, octets: bytes, *bodies: bytes, limits: Limits | None = None) -> Reader:
        """Assert that the octets are requests with these bodies, however they are split."""
        for size in SPLITS:
            reader = read(octets, size, limits)
            told = (str(reader.refusal), octets[:200], size)
            self.assertIn(reader.refusal, (None, NO_MORE_REQUESTS), told)
            self.assertEqual([body for _, body in reader.complete], list(bodies), size)
        return reader


class RequestTests(ReaderCase):
    def test_a_post(self) -> None:
        octets = request("Content-Type: text/xml", target="/EWS/x.asmx?q=%41", body=b"<a/>")
        ((head, body),) = self.accepted(octets, b"<a/>").complete
        self.assertEqual((head.method, head.path, head.query), ("POST", "/EWS/x.asmx", "q=%41"))
        self.assertEqual((head.host, head.headers["content-type"]), ("h", "text/xml"))
        self.assertTrue(head.keep_alive)

    def test_requests_one_after_the_other(self) -> None:
        octets = request(body=b"one") + request(TE) + chunked(b"tw", b"o") + request(method="GET")
        self.accepted(octets, b"one", b"two", b"")

    def test_the_same_head_again_is_not_parsed_again(self) -> None:
        reader = read(request(body=b"one"))
        for body in (b"two", b"six"):
            reader.receive(request(body=body))
        (first, _), (second, body), (third, _) = reader.complete
        self.assertIs(first, second)
        self.assertIs(first, third)
        self.assertEqual(body, b"two")

    def test_the_same_head_on_another_connection(self) -> None:
        """The head comes from the cache, but llhttp still parses the chunks after it."""
        heads = HeadCache(Limits())
        octets = request(TE) + chunked(b"abc")
        for size in SPLITS:
            reader = Reader(heads)
            for piece in pieces(octets * 2, size):
                reader.receive(piece)
            self.assertEqual([body for _, body in reader.complete], [b"abc", b"abc"])
            wrong = Reader(heads)
            for piece in pieces(request(TE) + b"3 \r\nabc\r\n0\r\n\r\n", size):
                wrong.receive(piece)
            assert wrong.refusal is not None
            self.assertEqual((wrong.refusal.status, len(wrong.complete)), (400, 0))

    def test_new_limits_empty_the_cache(self) -> None:
        heads = HeadCache(Limits())
        reader = Reader(heads)
        reader.receive(request(body=b"a" * 2000))
        heads.limits = Limits(max_body=1024)
        reader.receive(request(body=b"a" * 2000))
        assert reader.refusal is not None
        self.assertEqual((reader.refusal.status, len(reader.complete)), (413, 1))

    def test_the_cache_is_limited(self) -> None:
        heads = HeadCache(Limits())
        for number in range(2 * HeadCache.MAX_HEADS):
            Reader(heads).receive(request(f"X-Number: {number}"))
        Reader(heads).receive(request("X-Long: " + "x" * HeadCache.MAX_OCTETS_PER_HEAD))
        self.assertEqual(len(heads._heads), HeadCache.MAX_HEADS)

    def test_the_unfinished_part(self) -> None:
        reader = Reader(HeadCache(Limits()))
        seen = []
        head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
        for piece in (b"\r\n", head, b"\r\na", b"b"):
            reader.receive(piece)
            seen.append((reader.part, reader.buffered > 0))
        self.assertEqual(
            seen,
            [(Part.NONE, False), (Part.HEAD, True), (Part.BODY, True), (Part.NONE, False)],
        )

    def test_http_1_0(self) -> None:
        octets = request(version="1.0", body=b"abc").replace(b"Host: h\r\n", b"")
        reader = self.accepted(octets, b"abc")
        self.assertIs(reader.refusal, NO_MORE_REQUESTS)
        ((head, _),) = reader.complete
        self.assertEqual((head.keep_alive, head.host), (False, ""))
        ((head, _),) = self.accepted(request("Connection: keep-alive", version="1.0"), b"").complete
        self.assertTrue(head.keep_alive and head.says_keep_alive)

    def test_empty_lines_before_a_request(self) -> None:
        """Some clients send an empty line after a body (RFC 9112 section 2.2)."""
        self.accepted(b"\r\n" + request(body=b"a") + b"\r\n\r\n" + request(body=b"b"), b"a", b"b")


class TargetTests(ReaderCase):
    """Equivalent spellings of one URI (RFC 9110 section 4.2.3, RFC 9112 section 3.2.2)."""

    def read_target(self, target: str, host: str = "h", version: str = "1.1") -> Head:
        octets = request(target=target, version=version)
        octets = octets.replace(b"Host: h", f"Host: {host}".encode())
        ((head, _),) = self.accepted(octets, b"").complete
        return head

    def test_the_authority_of_an_absolute_target_goes_before_host(self) -> None:
        for target, scheme, authority, name, path, query in (
            ("http://a.example/x?q", "http", "a.example", "a.example", "/x", "q"),
            ("HTTPS://A.example:8443/", "https", "A.example:8443", "a.example", "/", ""),
            ("http://[::1]:80/x", "http", "[::1]:80", "::1", "/x", ""),
            ("http://a:/x", "http", "a:", "a", "/x", ""),
            ("http://a", "http", "a", "a", "/", ""),
            ("http://a?q=http://b/", "http", "a", "a", "/", "q=http://b/"),
            ("hTTp://a//x//y", "http", "a", "a", "/x/y", ""),
        ):
            for version in ("1.1", "1.0"):
                head = self.read_target(target, "other.example:1", version)
                self.assertEqual((head.scheme, head.host), (scheme, authority))
                self.assertEqual((head.host_name, head.path, head.query), (name, path, query))

    def test_other_absolute_targets_are_refused(self) -> None:
        for target in (
            "http:///x", "http://:80/x", "http://u@h/x", "http://u:p@h/x", "http://@h/x", "http:x",
            "http://h/x#y", "http://h#y", "http://h:x/", "http://h:123456/", "http://[::1/",
            "http://[h]/", "http:/x", "http//h/x", "ftp://h/x", "ws://h/x", "file:///x", "//h\\x",
            "http://h\\@g/", "http://h g/", "http://\xe9/", "http://h/\xe9", "http://h/%0",
            "http://h/<", "http://h/%00", "http://h,g/\t", "http://h/x http://g/y", "/x /y",
            "http://h/ /x",
        ):  # fmt: skip
            self.refused(400, request(target=target))
        self.refused(414, request(target="http://h/" + "x" * 2040))
        self.accepted(request(target="http://h/" + "x" * 2039), b"")
        self.refused(414, request(target="http://" + "h" * 2041 + "/"))

    def test_an_absolute_target_needs_a_host_too(self) -> None:
        """RFC 9112 section 3.2: a request of HTTP/1.1 without one gets 400."""
        plain = request(target="http://h/x")
        for host in (b"", b"Host: a b\r\n", b"Host: h\r\nHost: h\r\n"):
            self.refused(400, plain.replace(b"Host: h\r\n", host))
        octets = request(target="http://h/x", version="1.0").replace(b"Host: h\r\n", b"")
        self.assertEqual(self.accepted(octets, b"").complete[0][0].host, "h")

    def test_a_path_has_one_spelling(self) -> None:
        for target, path in (
            ("/%45WS/Exchange%2Easmx", "/EWS/Exchange.asmx"),
            ("//EWS///Exchange.asmx", "/EWS/Exchange.asmx"),
            ("/%2d%5F%7e%30%7A/", "/-_~0z/"),
            ("/x/", "/x/"),
            ("/a.b/.c/..d/e../...", "/a.b/.c/..d/e../..."),
        ):
            self.assertEqual(self.read_target(target).path, path)
        self.assertEqual(self.read_target("//x?a//b=%41").query, "a//b=%41")

    def test_escapes_are_decoded_once(self) -> None:
        for path in (
            "/%2545WS", "/%25%34%35", "/a%2Fb", "/a%2fb", "/%2F/x", "/a%5Cb", "/%3F", "/%23",
            "/%40", "/%2525", "/%C3%A9", "/%20", "/%3B", "/%0A", "/%7F", "/%60", "/%5B", "/%2F%2F",
        ):  # fmt: skip
            got = self.read_target(path).path
            self.assertEqual(got, path if "%34" not in path else "/%2545")
        self.refused(400, request(target="/x%00"))

    def test_dot_segments_are_refused(self) -> None:
        for path in ("/.", "/..", "/a/../b", "/./a", "/a/..", "/%2e", "/%2E./a", "/.%2e",
                     "/a//../b", "/a/%2e%2E/b", "http://h/../a", "http://h/%2e"):  # fmt: skip
            self.refused(400, request(target=path))
        self.assertEqual(self.read_target("/a?/../").query, "/../")


class CheckTests(ReaderCase):
    """Requests that llhttp accepts and umd refuses, beside good ones."""

    def test_a_head_over_the_limit(self) -> None:
        fields = [f"X-{n}: {'x' * 1000}" for n in range(20)]
        self.refused(431, request(*fields))
        self.refused(431, request("X: " + "x" * 20_000))
        self.accepted(request(*fields[:15]), b"")
        self.refused(431, request("X: " + "x" * 2000), limits=Limits(max_head=1024))

    def test_too_many_header_fields_and_a_long_target(self) -> None:
        self.refused(431, request(*["A: b"] * 63))
        self.accepted(request(*["A: b"] * 62), b"")
        self.refused(414, request(target="/" + "x" * 2048))
        self.refused(414, request(target="/" + "x" * 200_000))
        self.refused(414, request(target="/" + "x" * 2048, method="GET"))
        self.accepted(request(target="/" + "x" * 2047), b"")
        self.refused(414, b"GET /" + b"x" * 3000)
        self.refused(414, b"GET /" + b"x" * 100, limits=Limits(max_target=64))

    def test_the_version_and_single_spaces(self) -> None:
        for version, status in (("2.0", 505), ("0.9", 505), ("1.2", 505), ("1.10", 400)):
            self.refused(status, request(version=version))
        self.refused(400, b"GET /\r\n\r\n")
        for line in (b"POST  /x HTTP/1.1", b"POST /x  HTTP/1.1", b"POST\t/x HTTP/1.1",
                     b" POST /x HTTP/1.1", b"POST /x HTTP/1.1 ", b"POST /x RTSP/1.0",
                     b"GET /x RTSP/1.0", b"POST /x http/1.1", b"POST /x"):  # fmt: skip
            self.refused(400, request().replace(b"POST /x HTTP/1.1", line))

    def test_other_methods(self) -> None:
        for method in ("OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"):
            self.refused(405, request(method=method))
        for method in ("PRI", "SOURCE", "QUERY", "BREW", "post", "Post", "-BLARGH"):
            self.refused(501, request(method=method))

    def test_targets_that_are_not_a_path(self) -> None:
        for target in ("*", "h:80", "x", "/x#y", "/<x", '/">', "/x%00y", "/x%0",
                       "/x%", "/{x}", "/\\x", "/\xe9", "/\x7f", "/x|y", "/x^", "/`"):  # fmt: skip
            self.refused(400, request(target=target))
        self.accepted(request(target="/%C3%A9/a;b=c,d?e=1"), b"")

    def test_pieces_are_joined(self) -> None:
        octets = request(target="/long/path?query", body=b"abcdef")
        ((head, _),) = self.accepted(octets, b"abcdef").complete
        self.assertEqual((head.path, head.query), ("/long/path", "query"))

    def test_one_host(self) -> None:
        plain = request()
        for host in (b"", b"Host: \r\n", b"Host: h\r\nHost: h\r\n", b"Host: h\r\nhost: g\r\n",
                     b"Host: a b@/?\r\n", b"Host: u@h\r\n", b"Host: h/\r\n", b"Host: h:x\r\n",
                     b"Host: h:123456\r\n", b"Host: [::1\r\n", b"Host: a,b\xe9\r\n"):  # fmt: skip
            self.refused(400, plain.replace(b"Host: h\r\n", host))
        for host in (b"h:80", b"[::1]:8080", b"a.b-c.example", b" h\t"):
            self.accepted(plain.replace(b"Host: h\r\n", b"Host: " + host + b"\r\n"), b"")

    def test_the_content_length(self) -> None:
        plain = request()
        for value in (b"+1", b"-1", b"1,1", b"0x1", b"1_0", b"", b"18446744073709551616", b"1 1",
                      b"00000000001", b"9" * 12, b"\x8513"):  # fmt: skip
            self.refused(400, plain.replace(b"Length: 0", b"Length: " + value))
        for value in (b"65537", b"9999999999"):
            # Refused before any octet of the body.
            self.refused(413, plain.replace(b"Length: 0", b"Length: " + value))
        self.accepted(plain.replace(b"Length: 0", b"Length: 3\t ") + b"abc", b"abc")
        self.accepted(request(body=b"a" * 65536), b"a" * 65536)
        self.refused(400, request("Content-Length: 3", body=b"abc"))

    def test_a_post_without_a_length(self) -> None:
        self.refused(411, b"POST /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n")
        self.refused(411, b"POST /x HTTP/1.0\r\n\r\n")

    def test_transfer_encodings(self) -> None:
        for value, status in (("gzip, chunked", 501), (",chunked", 501), ("identity", 400),
                              ("chunked, chunked", 400), ("x", 400), ("gzip", 400)):  # fmt: skip
            self.refused(status, request(f"Transfer-Encoding: {value}") + chunked(b"abc"))
        self.refused(400, request(TE, TE) + chunked(b"abc"))
        self.refused(400, request(TE, "Content-Length: 3") + chunked(b"abc"))
        self.refused(400, request(TE, version="1.0") + chunked(b"abc"))
        self.accepted(request("Transfer-Encoding: Chunked") + chunked(b"abc"), b"abc")

    def test_an_upgrade(self) -> None:
        """Upgrade is ignored, see `tests.http.test_offers`; CONNECT is refused."""
        smuggled = request(method="GET", target="/smuggled")
        self.accepted(request("Connection: Upgrade", "Upgrade: h2c", body=smuggled), smuggled)
        for fields in ((), ("Connection: Upgrade", "Upgrade: h2c")):
            for target in ("h:443", "http://h/", "/"):
                self.refused(405, request(*fields, method="CONNECT", target=target) + smuggled)

    def test_a_chunked_body_over_the_limits(self) -> None:
        self.refused(413, request(TE) + chunked(b"a" * 65536, b"a"))
        self.refused(413, request(TE) + b"fffffff0\r\n")
        self.refused(413, request(TE) + chunked(*[b"a"] * 1025))
        self.refused(413, request(TE) + b"1;" + b"x" * 200_000)
        self.refused(413, request(TE) + b"0" * 200_000 + b"1\r\na\r\n")
        self.accepted(request(TE) + chunked(b"a" * 65536), b"a" * 65536)
        self.accepted(request(TE) + chunked(*[b"a"] * 1024), b"a" * 1024)
        for wrong in (b"3 \r\nabc", b"0x3\r\nabc", b"+3\r\nabc", b"3\nabc", b"3\r\nabcd", b"g\r\n",
                      b"\r\n", b"3;a\nb\r\nabc", b"-1\r\n", b"11111111111111111\r\n"):  # fmt: skip
            reader = read(request(TE) + wrong + b"\r\n0\r\n\r\n")
            assert reader.refusal is not None, wrong
            self.refused(reader.refusal.status, request(TE) + wrong + b"\r\n0\r\n\r\n")

    def test_trailers(self) -> None:
        octets = request(TE) + chunked(b"abc", trailers=b"X-Checksum: 1\r\nY: 2\r\n")
        ((head, _),) = self.accepted(octets, b"abc").complete
        self.assertNotIn("x-checksum", head.headers)
        for trailer in (b"Host: other\r\n", b"Content-Length: 3\r\n", b"Authorization: x\r\n",
                        b"Transfer-Encoding: chunked\r\n", b"A_b: c\r\n"):  # fmt: skip
            self.refused(400, request(TE) + chunked(b"abc", trailers=trailer))
        self.refused(431, request(TE) + chunked(b"abc", trailers=b"A: b\r\n" * 65))

    def test_fields_that_must_not_repeat(self) -> None:
        for name in ("Content-Type", "SOAPAction", "Authorization", "Expect", "Content-Encoding"):
            self.refused(400, request(f"{name}: 100-continue", f"{name.lower()}: 100-continue"))
        self.refused(400, request("Transfer_Encoding: chunked"))
        # Three Accept headers are what Perl's LWP sends.
        ((head, _),) = self.accepted(request("Accept: a", "Accept: b", "accept: c"), b"").complete
        self.assertEqual(head.headers["accept"], "a, b, c")

    def test_values_are_octets(self) -> None:
        ((head, _),) = self.accepted(request("X: \t\x85a\xa0 \t"), b"").complete
        self.assertEqual(head.headers["x"], "\x85a\xa0")
        for value in ("a\x00b", "a\x0bb", "a\x7fb", "a\rb", "a\nb"):
            self.refused(400, request("X: " + value))

    def test_expectations(self) -> None:
        head = request("Expect: 100-Continue").replace(b"Length: 0", b"Length: 3")
        for size in SPLITS:
            reader = read(head, size)
            self.assertTrue(reader.awaits_continue)
            reader.receive(b"abc")
            self.assertFalse(reader.awaits_continue)
        self.assertFalse(read(head + b"abc").awaits_continue)
        for value in ("200-ok", "100-continue, 200-ok", "100-continue;a=b", "100"):
            self.refused(417, request(f"Expect: {value}", body=b"abc"))
        for value in ("", " ,", "100-continue, 100-CONTINUE"):  # nothing else is expected
            self.accepted(request(f"Expect: {value}", body=b"abc"), b"abc")
        # The checks come before 100 Continue: the client need not send a body that is refused.
        self.refused(413, head.replace(b"Length: 3", b"Length: 65537"))

    def test_compressed_bodies_and_bodies_of_a_get(self) -> None:
        body = b"<a>" + b"x" * 1000 + b"</a>"
        raw = zlib.compressobj(wbits=-15)
        for coding, octets in (
            ("gzip", gzip.compress(body)),
            ("x-gzip", gzip.compress(body)),
            ("deflate", zlib.compress(body)),
            ("deflate", raw.compress(body) + raw.flush()),
            ("identity", body),
        ):
            self.accepted(request(f"Content-Encoding: {coding}", body=octets), body)
        self.accepted(request(TE, "Content-Encoding: gzip") + chunked(gzip.compress(body)), body)
        for coding in ("br", "gzip, gzip", "compress"):
            self.refused(415, request(f"Content-Encoding: {coding}", body=b"x"))
        for wrong in (b"x", gzip.compress(body)[:-1], gzip.compress(body) + b"x", b"\x1f\x8b"):
            self.refused(400, request("Content-Encoding: gzip", body=wrong))
        # A decompression bomb is decoded only up to the limit.
        self.refused(413, request("Content-Encoding: gzip", body=gzip.compress(b"\0" * 30_000_000)))
        for method in ("GET", "HEAD"):
            self.refused(400, request("Content-Length: 3", method=method) + b"abc")
            self.refused(400, request(TE, method=method) + chunked(b"abc"))
            self.accepted(request("Content-Length: 0", method=method), b"")

    def test_no_100_continue_before_the_head_is_checked(self) -> None:
        octets = request("Expect: 100-continue", "Bad Header: x", body=b"abc")
        for size in SPLITS:
            self.assertFalse(read(octets, size).awaits_continue)
        self.refused(400, octets)

    def test_too_many_requests_in_one_read(self) -> None:
        reader = read(request(method="GET") * 3640)
        assert reader.refusal is not None
        self.assertEqual((reader.refusal.status, len(reader.complete)), (400, 16))
        self.assertEqual(len(read(request(method="GET") * 16 + b"\r\n").complete), 16)

    def test_good_requests_before_an_error_are_served(self) -> None:
        self.refused(400, request(body=b"abc") * 2 + b"garbage\r\n\r\n" + request(), before=2)
        last = request("Connection: close", body=b"abc")
        self.assertIs(self.accepted(last + request(), b"abc").refusal, NO_MORE_REQUESTS)

    def test_after_an_error_nothing_is_read(self) -> None:
        reader = read(b"garbage\r\n")
        refusal = reader.refusal
        reader.receive(request())
        self.assertIs(reader.refusal, refusal)
        self.assertEqual((len(reader.complete), reader.buffered, reader.part), (0, 0, Part.NONE))

    def test_an_unfinished_request_is_not_served(self) -> None:
        for octets in (request(body=b"abc"), request(TE) + chunked(b"abc"), request()):
            self.assertEqual(len(self.accepted(octets[:-1]).complete), 0)

    def test_empty_lines_are_no_progress(self) -> None:
        self.refused(400, b"\r\n" * 100)
        reader = read(b"\r\n\r")
        self.assertEqual((reader.part, reader.refusal), (Part.NONE, None))

    def test_umd_sets_no_leniency_flag_of_llhttp(self) -> None:
        for file in Path(umd.http.__file__).parent.parent.rglob("*.py"):
            self.assertNotIn("lenienc" + "ies", file.read_text(), file)
