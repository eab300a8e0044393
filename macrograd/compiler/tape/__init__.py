"""The scalar intermediate representation, and the walks over it."""
