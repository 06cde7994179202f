"""``python -m reticule`` is the command ``reticule``."""

from reticule.cli import main

if __name__ == "__main__":
    main()
