"""A local SageMaker: its API, notebook hosts and real Jupyter servers, for the demo, tests and benchmarks.

It stands for AWS, so it shares no code with what it tests: it is spoken to over sockets only, and what it
knows of IP conditions, cookies and tokens it has of its own. Only the command line imports it.
"""
