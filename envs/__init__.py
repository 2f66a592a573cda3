"""Where things run: sandboxes, base images, language toolchains."""
