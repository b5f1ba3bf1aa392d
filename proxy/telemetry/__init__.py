"""What nbgate says about itself: the access log, the audit log, and events.

Nothing that it writes holds a credential, and nothing that it does makes a request wait: lines are formatted
where they happen, and a thread of the sink's own carries them out.
"""
