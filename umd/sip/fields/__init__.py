"""Typed values of the header fields that have a structure; `parse` and `str` are inverses."""

from umd.sip.fields.address import NameAddr, NameAddrError, find_tag, parse_tag
from umd.sip.fields.authentication import (
    Challenge,
    Credentials,
    CredentialsError,
    parse_challenges,
)
from umd.sip.fields.cseq import MAX_CSEQ, CSeq, CSeqError
from umd.sip.fields.params import MAX_PARAMS, Params
from umd.sip.fields.reason import Reason, ReasonError, find_reason
from umd.sip.fields.syntax import (
    MAX_SEPARATORS,
    MAX_VALUE_CHARACTERS,
    MAX_VALUES,
    FieldError,
    ListError,
    quote,
    split_list,
    unquote,
)
from umd.sip.fields.uri import (
    Uri,
    UriError,
    is_ip_address,
    is_usual_sip_uri,
    uri_host,
)
from umd.sip.fields.via import MAGIC_COOKIE, Via, ViaError, find_branch

__all__ = [
    "MAGIC_COOKIE",
    "MAX_CSEQ",
    "MAX_PARAMS",
    "MAX_SEPARATORS",
    "MAX_VALUES",
    "MAX_VALUE_CHARACTERS",
    "CSeq",
    "CSeqError",
    "Challenge",
    "Credentials",
    "CredentialsError",
    "FieldError",
    "ListError",
    "NameAddr",
    "NameAddrError",
    "Params",
    "Reason",
    "ReasonError",
    "Uri",
    "UriError",
    "Via",
    "ViaError",
    "find_branch",
    "find_reason",
    "find_tag",
    "is_ip_address",
    "is_usual_sip_uri",
    "parse_challenges",
    "parse_tag",
    "quote",
    "split_list",
    "unquote",
    "uri_host",
]
