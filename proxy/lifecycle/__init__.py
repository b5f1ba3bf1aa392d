"""When a notebook instance is stopped for want of use, and started because somebody comes.

It sees errors, time and tasks alone: SageMaker, Jupyter and the traffic are Protocols of its own, which the server
fills in. `evidence` and `judge` are pure; `lifecycle` asks, remembers and acts.
"""
