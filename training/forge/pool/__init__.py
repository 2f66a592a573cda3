"""The data pool: what rollouts produced and what training took, on disk, whichever process dies.

`records` is what is kept, `pool` the interface, `sqlite` the embedded pool, `ledger` the scheduler's queue on
top of it, `recorder` the gateway's way in. docs/gateway.md explains the guarantees.
"""
