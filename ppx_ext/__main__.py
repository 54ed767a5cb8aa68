"""`python -m ppx_ext` is `ppx`: for launchers that start a module on each process."""

from ppx_ext.cli import main

if __name__ == "__main__":
    main(prog_name="ppx")
