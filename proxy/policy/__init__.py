"""Who may connect: IAM's statements, their conditions, the one evaluator, and the judge who asks it.

The rule: everything is compiled and refused when a configuration loads, so that evaluating is total, fast and
the same for every request. It must not know of HTTP, of headers, of files or of time.
"""
