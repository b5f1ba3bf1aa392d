"""How addresses are spelled by those who want to be taken for somebody else: the corpus that tests and fuzzer share.

`hostile(value)` makes from a spelling the ways in which a header can carry it.
"""

from __future__ import annotations

from collections.abc import Iterator

ALLOWED = "203.0.113.5"
"""The address that policy lets in, and that a caller pretends to have."""

FIELDS = (
    "X-Forwarded-For",
    "Forwarded",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "CF-Connecting-IP",
    "True-Client-IP",
    "X_Forwarded_For",
    "X-Forwarded",
    "Forwarded-For",
    "Via",
)

SPELLINGS = (
    ALLOWED,
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    # IPv4 in IPv6: mapped, compatible, translated (RFC 2765), NAT64 (RFC 6052), 6to4, Teredo
    f"::ffff:{ALLOWED}",
    f"::FFFF:{ALLOWED}",
    "::ffff:cb00:7105",
    "0:0:0:0:0:ffff:cb00:7105",
    f"::{ALLOWED}",
    f"::ffff:0:{ALLOWED}",
    f"64:ff9b::{ALLOWED}",
    "64:ff9b::cb00:7105",
    "2002:cb00:7105::1",
    "2001:0:cb00:7105::",
    # zones
    "fe80::1%eth0",
    f"::ffff:{ALLOWED}%1",
    f"{ALLOWED}%0",
    "fe80::1%25eth0",
    # leading zeros, octal, hexadecimal, short, one number
    "203.0.113.005",
    "0203.0.113.5",
    "0313.0.0161.05",
    "0xcb.0x0.0x71.0x5",
    "0xCB007105",
    "3405803781",
    "031300070405",
    "203.28933",
    "203.0.28933",
    "203.0.113",
    # signs, blanks, and other digits
    "+203.0.113.5",
    "203.0.113.-5",
    f" {ALLOWED} ",
    f"\t{ALLOWED}\t",
    f"{ALLOWED}\n",
    f"{ALLOWED}\x00",
    f"{ALLOWED}\x0b",
    f"\u00a0{ALLOWED}",
    f"\u200b{ALLOWED}",
    f"\ufeff{ALLOWED}",
    "203 .0.113.5",
    "２０３.０.１１３.５",
    "٢٠٣.٠.١١٣.٥",
    "203。0。113。5",
    "203․0․113․5",
    f"\udcff{ALLOWED}",
    f"{ALLOWED}\udc80",
    # ports and brackets
    f"{ALLOWED}:443",
    f"{ALLOWED}:0",
    f"{ALLOWED}:65536",
    f"{ALLOWED}:00443",
    f"{ALLOWED}:",
    f"{ALLOWED}:http",
    f"{ALLOWED}:_obfuscated",
    f"[{ALLOWED}]",
    f"[{ALLOWED}]:443",
    "[2001:db8::5]",
    "[2001:db8::5]:443",
    "[2001:db8::5",
    "2001:db8::5]",
    "[[2001:db8::5]]",
    "[2001:db8::5]443",
    "[]",
    "[]:80",
    "[::ffff:203.0.113.5]:443",
    # networks, names, URLs
    f"{ALLOWED}/32",
    "203.0.113.0/24",
    "0.0.0.0/0",
    "localhost",
    "unknown",
    "_hidden",
    "_",
    "null",
    "-",
    f"http://{ALLOWED}/",
    f"{ALLOWED}.in-addr.arpa",
    # broken IPv6
    ":",
    "::",
    ":::",
    "1::2::3",
    "12345::",
    "::g",
    "1:2:3:4:5:6:7:8:9",
    "::203.0.113.5.6",
    "::ffff:203.0.113.05",
    # RFC 7239
    f"for={ALLOWED}",
    f"For={ALLOWED}",
    f'for="{ALLOWED}"',
    f'for="{ALLOWED}:443"',
    'for="[2001:db8::5]:443"',
    "for=[2001:db8::5]",
    f"for={ALLOWED};for={ALLOWED}",
    f"for={ALLOWED};by=10.0.0.1;proto=https;host=notebooks.internal",
    f"by={ALLOWED}",
    "for=unknown",
    "for=_hidden",
    "for=",
    'for=""',
    'for="',
    'for="\\2\\0\\3.0.113.5"',
    f'x=", for={ALLOWED}',
    f'for={ALLOWED};x="',
    f'"for={ALLOWED}"',
    f"for = {ALLOWED}",
    f"for={ALLOWED},",
    ";",
    "=",
    # nothing
    "",
    " ",
    ",",
    ", ,",
)


def hostile(value: str) -> Iterator[list[str]]:
    """The lines of a field: `value` alone, among others, repeated, on lines of its own, and ten thousand times."""
    yield [value]
    yield [value, value]
    yield [f"{value}, {ALLOWED}"]
    yield [f"{ALLOWED}, {value}"]
    yield [f"{ALLOWED},,{value}"]
    yield [f"{value}, 10.0.0.2"]
    yield [value, "10.0.0.2, 10.0.0.3"]
    yield ["", value]
    yield [value, ""]
    yield [", ".join([value] * 10_000)]
