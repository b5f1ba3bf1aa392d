"""Whom a request is attributed to: the peer, or the hop that trusted proxies vouch for.

The rule: peer first, headers second. Headers count only when the TCP peer is a trusted proxy, and then only
the part that trusted proxies wrote. It must not know of policies, of connections, or of aiohttp.
"""
