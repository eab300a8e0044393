"""From program to loops of scalar or vector code, for every target that writes code."""
