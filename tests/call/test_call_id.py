"""The id of a call as clients see it."""

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call_id import InvalidCallId, make_call_id, split_call_id

DOCUMENTED = (
    "MDlkZjllZGMtNGUyMy00NzA5LWJkYWYtN2JlMjBjYjBhZTU2QGRmLWV1bS0wMS5leGNoYW5nZS5jb3JwLm1pY3Jvc29m"
    "dC5jb20="
)


class CallIdTests(SynchronousTestCase):
    def test_the_example_in_ms_oxwums_has_this_form(self) -> None:
        name, node = split_call_id(DOCUMENTED)
        self.assertEqual(name, "09df9edc-4e23-4709-bdaf-7be20cb0ae56")
        self.assertEqual(node, "df-eum-01.exchange.corp.microsoft.com")
        self.assertEqual(make_call_id(name, node), DOCUMENTED)

    def test_a_leg_name_may_contain_an_at_sign(self) -> None:
        self.assertEqual(split_call_id(make_call_id("a84b4c76e66710@pc33", "lab")),
                         ("a84b4c76e66710@pc33", "lab"))  # fmt: skip

    def test_a_text_that_is_no_id_is_refused(self) -> None:
        for text in ("", "5", "not base64!", "Zm9v", "QA==", "Zm9vQA==", "QGZvbw==", "/w==", "é"):
            with self.assertRaises(InvalidCallId, msg=text):
                split_call_id(text)
