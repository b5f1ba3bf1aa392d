"""What commands of `nbgate` do beyond reading their options: one module each, imported by the command that runs it."""
