"""The Docker backend: sandboxes as containers, networks whose only exit is a filtering proxy, clean-up."""
