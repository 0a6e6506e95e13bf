"""`python -m eclip_lib …` is the command line `eclip …`."""

from eclip_lib.cli import main

if __name__ == "__main__":
    main(prog_name="eclip")
