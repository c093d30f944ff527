"""The cleaned E2E CSVs: E2E's texts with MRs that say what the text says.

Source: Dusek, Howcroft and Rieser (2019), tuetschek/e2e-cleaning at the commit below. Training and
development sets are without what the test set has ("no-ol": no overlap). MRs are linearised as
those of E2E's own CSVs; solo/cli/clean.py makes the same files from these.
"""

from solo.datasets.base import Source, SourceFile, read_table
from solo.datasets.e2e_raw import parse

URL = (
    "https://raw.githubusercontent.com/tuetschek/e2e-cleaning/"
    "164acdf986146d76f18893b3de9488725deda4c2/cleaned-data"
)
FILES = {
    "train": (
        "train-fixed.no-ol.csv",
        "12a4f59ec85ddd2586244aaf166f65d1b8cd468b6227e6620108baf118d5b325",
    ),
    "valid": (
        "devel-fixed.no-ol.csv",
        "bb88df2565826a463f96e93a5ab69a8c6460de54f2e68179eb94f0019f430d4d",
    ),
    "test": (
        "test-fixed.csv",
        "99b43c2769a09d62fc5d37dcffaa59d4092bcffdc611f226258681df61269b17",
    ),
}
SOURCE = Source(
    read_table,
    parse,
    suffixes=(".csv", ".tsv"),
    remedy="`python scripts/prepare_data.py e2e_clean` downloads the files (with E2E_CLEAN_DIR "
    "unset; --make makes them from E2E's), or put the file there yourself",
    licence="the cleaned E2E NLG data (Dušek, Howcroft and Rieser 2019, https://github.com/tuetschek/"
    "e2e-cleaning), whose repository names no licence; the E2E data are under CC BY-SA 4.0",
    splits={
        split: SourceFile(name, f"{URL}/{name}", sha256) for split, (name, sha256) in FILES.items()
    },
)
