"""Which files of a checkout a command enters, and how often it calls a function.

  python scripts/checks/entered.py --calls file_sha256,training_identity scripts/reproduce.py demo

Run it in the checkout that is to be looked at; its scripts run in this process. Printed: the number
of files with at least one function that ran, by folder, and the calls of each named function.
"""

import runpy
import sys
import threading
from collections import Counter
from pathlib import Path


def watch(root: Path, names: set[str], files: set[Path], calls: Counter):
    """A profile function for sys.setprofile that notes files below `root` and calls of `names`."""
    prefix = f"{root}/"

    def profile(frame, event, argument) -> None:
        code = frame.f_code
        path = code.co_filename
        if event == "call" and path.startswith(prefix) and "/.venv/" not in path:
            if code.co_name != "<module>":
                files.add(Path(path).relative_to(root))
            if code.co_name in names:
                calls[f"{Path(path).relative_to(root)}:{code.co_name}"] += 1

    return profile


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    names: set[str] = set()
    if arguments[0] == "--calls":
        names = set(arguments[1].split(","))
        arguments = arguments[2:]
    root = Path.cwd().resolve()
    files: set[Path] = set()
    calls: Counter = Counter()
    sys.argv = arguments
    sys.path.insert(0, str(root))
    profile = watch(root, names, files, calls)
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as done:
        if done.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    by_folder = Counter(str(path.parent) for path in files)
    print(f"{len(files)} files entered:", dict(sorted(by_folder.items())))
    for name, count in sorted(calls.items()):
        print(f"{count:6d}  {name}")


if __name__ == "__main__":
    main()
