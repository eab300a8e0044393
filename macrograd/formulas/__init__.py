"""Mathematical functions written in the operations, for rows that have no spelling of their own in every target."""
