"""What the gateway's page (`proxy.gateway`) is made of.

    caller    a request as it stands at the door, and who sends it
    rules     what is decided by: one snapshot of the configuration
    access    what callers bring besides their address
    pages     what pages of other sites, and pages under mounts, may ask for
    verdict   what is said of a request; `refusal` makes those that say no

The rule: each module has one idea; the order of it all stands on the page. Knows no sockets, no aiohttp and no AWS.
"""
