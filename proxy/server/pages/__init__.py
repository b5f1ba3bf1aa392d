"""What people see: the portal, forms, streams of changes, and pages about errors, links and signing in."""
