"""What runs inside the sandbox: standard library only, Python 3.9 or later, nothing of ppx-ext.

Two processes. The *checker* holds the tests and the nonce; the *program* holds the model's code.
Only plain values cross between them, so the program never sees what is expected of it, and never
touches what decides.
"""
