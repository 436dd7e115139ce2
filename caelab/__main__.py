"""``python -m caelab`` is the command ``caelab``; so it can be started by ``torchrun -m caelab``."""

from caelab.cli.main import main

if __name__ == "__main__":
    main()
