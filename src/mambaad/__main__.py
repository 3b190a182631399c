"""``python -m mambaad``: the command line, where its script is not on the path."""

from mambaad.cli.app import main

if __name__ == "__main__":
    main()
