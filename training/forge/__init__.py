"""What rollouts need of an inference engine. Nothing here is imported by training itself."""
