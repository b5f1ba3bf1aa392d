"""The gateway's credentials are taken out of a request, and nobody else's are touched."""

from __future__ import annotations

import pytest

from proxy.wire.credentials import (
    LINK_PARAMETER,
    TOKEN_PARAMETER,
    authorization,
    is_our_credential,
    session_tokens,
    subprotocols,
    take_out,
    token_request_fields,
    without_credentials,
)

T = "nbgate2_a.00000000.AAAA.BBBB"
OFFER = "v1.token.websocket.jupyter.org."


@pytest.mark.parametrize(
    ("target", "rest", "links", "tokens"),
    [
        ("/lab", "/lab", (), ()),
        ("/lab?", "/lab?", (), ()),
        ("/lab?a=1&a=2&b", "/lab?a=1&a=2&b", (), ()),
        (f"/?authToken={T}", "/", (T,), ()),
        (f"/lab?a=1&authToken={T}&b=%2F&a=2", "/lab?a=1&b=%2F&a=2", (T,), ()),
        (f"/?authToken={T}&view=lab", "/?view=lab", (T,), ()),
        ("/?authToken=", "/", ("",), ()),
        ("/?authToken", "/", ("",), ()),
        # SageMaker's own, and anything else of that name: never the notebook's front end's to see.
        ("/?authToken=eyJhbGciOiJIUzI1NiJ9.e30.x", "/", ("eyJhbGciOiJIUzI1NiJ9.e30.x",), ()),
        ("/?authToken=1&authToken=2", "/", ("1", "2"), ()),
        ("/?auth%54oken=1", "/", ("1",), ()),
        ("/?authToke%6e=1", "/", ("1",), ()),
        ("/?%61%75thToken", "/", ("",), ()),
        ("/a%20b?c=%20", "/a%20b?c=%20", (), ()),
        (f"/api?token={T}", "/api", (), (T,)),
        (f"/api?x=1&token={T}&token={T}", "/api?x=1", (), (T, T)),
        (f"/api?to%6Ben=%6Ebgate2_{T[8:]}", "/api", (), (T,)),
        ("/api?token=nbgate99_x", "/api", (), ("nbgate99_x",)),
        # Jupyter's own.
        ("/api?token=0123456789abcdef", "/api?token=0123456789abcdef", (), ()),
        (f"/api?token=secret&token={T}", "/api?token=secret", (), (T,)),
        (f"/api?Token={T}", f"/api?Token={T}", (), ()),
        # What a mount's path or another parameter holds is not a credential.
        (f"/authToken={T}", f"/authToken={T}", (), ()),
        (f"/?next=authToken={T}", f"/?next=authToken={T}", (), ()),
        (f"/?a=?authToken={T}", f"/?a=?authToken={T}", (), ()),
    ],
)
def test_a_target_is_split_from_what_is_ours_byte_for_byte(
    target: str, rest: str, links: tuple[str, ...], tokens: tuple[str, ...]
) -> None:
    found = take_out(target)
    assert (found.target, found.links, found.tokens) == (rest, links, tokens)


def test_the_parameters_are_those_of_links_and_of_programs_addresses() -> None:
    assert take_out(f"/?{LINK_PARAMETER}=x").links == ("x",)
    assert take_out(f"/?{TOKEN_PARAMETER}={T}").tokens == (T,)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], ()),
        ([f"token {T}"], (T,)),
        ([f"Bearer {T}"], (T,)),
        ([f"BEARER   {T} "], (T,)),
        ([f"token {T}", f"Bearer {T}x"], (T, f"{T}x")),
        (["token 0123456789abcdef"], ()),
        (["Basic bmJnYXRlOg=="], ()),
        ([T], (T,)),
        # What follows is no token as a whole, and so refused.
        ([f"token {T} x"], (f"token {T} x",)),
        ([f"Digest {T}", "Basic bmJnYXRlOg=="], (f"Digest {T}",)),
        ([f'token "{T}"'], (f'token "{T}"',)),
        ([f"token={T}"], (f"token={T}",)),
        ([""], ()),
    ],
)
def test_our_tokens_are_found_among_authorizations(values: list[str], found: tuple[str, ...]) -> None:
    assert authorization(values) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], ()),
        (["v1.kernel.websocket.jupyter.org"], ()),
        ([OFFER[:-1]], ()),
        ([f"{OFFER}jupyters-own"], ()),
        ([f"x{OFFER}{T}"], ()),
        ([f"a,{OFFER}{T}, b"], (T,)),
        (["a", f"\t{OFFER}{T}"], (T,)),
        ([f"{OFFER.upper()}{T.replace('_', '%5F')},{OFFER}{T}"], (T, T)),
    ],
)
def test_our_tokens_are_found_among_subprotocols(values: list[str], found: tuple[str, ...]) -> None:
    assert subprotocols(values) == found


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ([], ()),
        (["a=1; s=2; b=3"], ("2",)),
        (["s=1; s=2", "s=3"], ("1", "2", "3")),
        (["xs=1; s-8444=2; S=3; =s"], ()),
        (["s"], ()),
        (["; ".join(f"s={n}" for n in range(100))], tuple(str(n) for n in range(100))),
        (["s=1; s=2; s=1", "s=2"], ("1", "2")),
        (["a=\udcff; s=1"], ("1",)),
    ],
)
def test_every_cookie_of_the_name_is_found_once(fields: list[str], values: tuple[str, ...]) -> None:
    assert session_tokens(fields, "s") == values


GW = "https://notebooks.internal/research"


@pytest.mark.parametrize(
    ("address", "left"),
    [
        (f"{GW}/lab?token={T}", f"{GW}/lab"),
        (f"{GW}/lab?a=1&authToken={T}&b=%2F", f"{GW}/lab?a=1&b=%2F"),
        (f"{GW}/?authToken=eyJhbGciOiJIUzI1NiJ9.e30.x", f"{GW}/"),
        (f"/lab?to%6Ben=%6Ebgate1_{T[8:]}&x", "/lab?x"),
        (f"/lab?auth%54oken={T}", "/lab"),
        ("?authToken=x", ""),
        # Jupyter's own, and what is none of ours.
        (f"{GW}/lab?token=0123456789abcdef", f"{GW}/lab?token=0123456789abcdef"),
        ("https://evil.example/?q=a%20b%2520", "https://evil.example/?q=a%20b%2520"),
        ("/a%2Fb?x=100%", "/a%2Fb?x=100%"),
        ("", ""),
        ("https://x.example/token", "https://x.example/token"),
        # In a place or a spelling that no request's target has: the origin alone.
        (f"{GW}/{T}/x", "https://notebooks.internal/"),
        (f"{GW}/lab?x={T}", "https://notebooks.internal/"),
        (f"{GW}/lab?next=%2Flab%3FauthToken%3D{T}", "https://notebooks.internal/"),
        (f"{GW}/lab?next=%252Flab%253Ftoken%253D%256Ebgate1_a", "https://notebooks.internal/"),
        (f"{GW}/lab?AUTHTOKEN=abc", "https://notebooks.internal/"),
        ("HTTPS://Other.example:8443?token=NBGATE12_a", "HTTPS://Other.example:8443/"),
        (f"/lab#{T}", "/"),
        (f"/{T}", "/"),
        ("/x?%2525252561", "/"),
        (f"https://{T}@notebooks.internal/", ""),
        (f"nonsense {T}", "/"),
    ],
)
def test_no_credential_of_the_gateways_stays_in_an_address(address: str, left: str) -> None:
    assert without_credentials(address.encode("latin-1")) == left.encode("latin-1")


def test_an_address_with_nothing_to_do_comes_back_as_the_same_object() -> None:
    address = b"https://notebooks.internal/research/lab?x=1"
    assert without_credentials(address) is address


@pytest.mark.parametrize("text", ["", "abc", "eyJhbGciOiJIUzI1NiJ9.e30.x", "nbgate", "nbgate_1", "xnbgate1_"])
def test_somebody_elses_token_is_told_apart(text: str) -> None:
    assert not is_our_credential(text)


def test_a_programs_fields_lose_the_token_and_gain_the_pair_that_jupyter_wants() -> None:
    fields = [
        (b"Accept", b"*/*"),
        (b"AUTHORIZATION", f"token {T}".encode()),
        (b"Authorization", b"Basic bmJnYXRlOg=="),
        (b"Cookie", b"_xsrf=old"),
        (b"Sec-WebSocket-Protocol", f"{OFFER}{T}".encode()),
        (b"sec-websocket-protocol", f"a,{OFFER.upper()}{T} ,{OFFER}jupyters-own".encode()),
    ]
    assert token_request_fields(fields, xsrf="n1") == (
        (b"Accept", b"*/*"),
        (b"Authorization", b"Basic bmJnYXRlOg=="),
        (b"Cookie", b"_xsrf=old"),
        (b"sec-websocket-protocol", f"a, {OFFER}jupyters-own".encode()),
        # The last one counts.
        (b"Cookie", b"_xsrf=n1"),
        (b"X-XSRFToken", b"n1"),
    )


def test_a_program_that_brings_the_pair_itself_keeps_its_own() -> None:
    fields = (
        (b"Cookie", b"_xsrf=own"),
        (b"x-xsrftoken", b"own"),
        (b"Accept", b"\xff"),
        (b"Sec-WebSocket-Protocol", b"a,b"),
    )
    assert token_request_fields(fields, xsrf="n1") == fields
