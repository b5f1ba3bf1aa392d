"""nbgate: a team's fixed front door to its Amazon SageMaker notebook instances."""

__version__ = "0.1.0"
