"""SageMaker's API for the gateway's own instances, for unmodified AWS clients."""
