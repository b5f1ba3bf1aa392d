"""nbgate: a team's fixed front door to its Amazon SageMaker notebook instances."""

__version__ = "0.2.0.dev0"
