"""The image, built and run for real on a bootstrapped Debian base."""
