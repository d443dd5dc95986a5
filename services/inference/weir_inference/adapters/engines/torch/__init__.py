"""The native engine: Llama-architecture models in torch over a paged KV cache."""

import os

# OpenMP reads this once, when torch is imported, so it must be said here. Threads that spin while
# they wait for each other collapse as soon as another process wants a core: with two threads on two
# busy cores a small model made 5 tokens a second, and 169 without spinning. Who has cores to spare
# sets OMP_WAIT_POLICY=active.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
