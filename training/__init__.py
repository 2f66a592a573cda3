"""What is learnt: shards in, optimiser steps and metrics out. Importing this package never imports torch."""
