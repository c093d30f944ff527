"""The demo's data: a folder in the layout of the E2E data, written by a grammar of our own.

The restaurants are made up, so that a fine-tuned backbone must copy what it never saw.
"""

import re
from pathlib import Path
from random import Random

from solo.datasets.download import E2E_SUMS, check_sums, write_sums
from solo.datasets.e2e_raw import SLOT_NAMES
from solo.files import file_sha256, write_text
from solo.rows import csv_text
from solo.standin.grammar import RESTAURANT, Domain, Slot

SIZES = [2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 7]  # slots beside the name: MRs of 3 to 8
KINDS = {"pre": 2, "kin": 1, "at": 2, "with": 1}  # how many of each fit around the noun

Mr = list[tuple[str, str]]  # slot key and value, the name first


def _pick(rng: Random, options: list) -> object:
    """The first options are the usual ones: index floor(n u^2)."""
    u = rng.random()
    return options[int(len(options) * u * u)]


def draw_mr(rng: Random, domain: Domain, names: list[str]) -> Mr:
    """A name and 2 to 7 slots in the domain's order, no value twice (except yes and no)."""
    chosen = list(range(len(domain.slots)))
    rng.shuffle(chosen)
    mr = [(domain.key, rng.choice(names))]
    for index in sorted(chosen[: rng.choice(SIZES)]):
        used = [value for _, value in mr if value not in ("yes", "no")]
        free = [value for value in domain.slots[index].values if value not in used]
        mr.append((domain.slots[index].key, rng.choice(free)))
    return mr


def realise(rng: Random, domain: Domain, mr: Mr) -> str:
    """One to four sentences that say every slot of `mr`, in plain English spelling."""
    slots: dict[str, Slot] = {slot.key: slot for slot in domain.slots}
    forms = [slots[key].values[value] for key, value in mr[1:]]
    heads = [_pick(rng, form["head"]) for form in forms if "head" in form]
    head = heads[0] if heads else domain.noun
    forms = [form for form in forms if "head" not in form]
    if rng.random() < 0.5:
        rng.shuffle(forms)
    around: dict[str, list[str]] = {kind: [] for kind in KINDS}
    room = rng.choice([1, 2, 2, 3, 3, 4])
    predicates = []
    for form in forms:
        kinds = [kind for kind in KINDS if kind in form and len(around[kind]) < KINDS[kind]]
        if kinds and room:
            kind = _pick(rng, kinds)
            around[kind].append(_pick(rng, form[kind]))
            room -= 1
        else:
            predicates.append(_pick(rng, form["vp"]))
    sentences = [_opening(rng, domain, mr[0][1], head, around, predicates)]
    while predicates:
        subject = _pick(rng, ["It", "It", f"The {head}", mr[0][1]])
        count = 2 if rng.random() < 0.7 else 1
        sentences.append(f"{subject} {' and '.join(predicates[:count])}")
        del predicates[:count]
    text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    return re.sub(r"\b([aA])~ (?=(\w))", _article, text)


def _article(match: re.Match) -> str:
    return match[1] + ("n " if match[2] in "aeiouAEIOU" else " ")


def _opening(rng, domain: Domain, name: str, head: str, around: dict, predicates: list) -> str:
    """The sentence with the name; takes a predicate out of `predicates` where it uses one."""
    thing = " ".join(["a~", *around["pre"], *around["kin"], head])
    after = [*around["at"], *around["with"]]
    tail = "".join(f" {phrase}" for phrase in after)
    patterns = ["{name} is {thing}{tail}", "There is {thing} called {name}{tail}"]
    if predicates:
        patterns.insert(1, "{name} is {thing}{tail} that {predicate}")
        patterns.insert(2, "{name}, {thing}{tail}, {predicate}")
    if thing != f"a~ {head}" or tail:
        patterns.append("For {thing}{tail}, {verb} {name}")
    if after and after[0].split()[0] in ("in", "near", "close"):
        patterns.append("{first}, there is {thing} called {name}{others}")
    pattern = _pick(rng, patterns)
    return pattern.format(
        name=name,
        thing=thing,
        tail=tail,
        verb=domain.verb,
        predicate=predicates.pop(0) if "{predicate}" in pattern else "",
        first=after[0] if after else "",
        others="".join(f" {phrase}" for phrase in after[1:]),
    )


def tokenise(text: str) -> str:
    """Punctuation, hyphens and the pound sign as words of their own, as in LoRA's files."""
    return " ".join(re.sub(r"([.,£-])", r" \1 ", text).split())


def linearise(mr: Mr) -> str:
    """`name : The Copper Kettle | Type : pub | ...`, slots renamed as in LoRA's files."""
    return " | ".join(f"{SLOT_NAMES.get(key, key)} : {tokenise(value)}" for key, value in mr)


def _task_rows(rng, names: list[str], rows: int, fewest: int, seen: set) -> list[tuple[Mr, str]]:
    """Exactly `rows` pairs of restaurant MR and text: `fewest` to 6 different texts an MR.

    The last MR may have fewer, but 2 at least. MRs in `seen` are left out, new ones added to it.
    """
    found = []
    while len(found) < rows:
        left = rows - len(found)
        count = min(rng.randint(fewest, 6), left)
        if left - count == 1:
            count += 1 if count < 6 else -1
        mr = draw_mr(rng, RESTAURANT, names)
        if linearise(mr) in seen:
            continue
        texts: list[str] = []
        for _ in range(60):  # small MRs can run out of different texts: then another MR is drawn
            text = realise(rng, RESTAURANT, mr)
            if text not in texts:
                texts.append(text)
            if len(texts) == count:
                break
        if len(texts) == count:
            seen.add(linearise(mr))
            found += [(mr, text) for text in texts]
    return found


def _csv_text(rows: list[tuple[Mr, str]]) -> str:
    mrs = (", ".join(f"{key}[{value}]" for key, value in mr) for mr, _ in rows)
    return csv_text([("mr", "ref"), *zip(mrs, (text for _, text in rows), strict=True)])


def write_demo_data(
    out_dir: Path,
    seed: int = 0,
    train_rows: int = 3000,
    valid_rows: int = 200,
    test_mrs: int = 60,
) -> dict[str, tuple[int, int]]:
    """Write the demo data into `out_dir`; the same bytes for the same arguments everywhere.

    Files: trainset.csv, devset.csv, testset_w_refs.csv, lora_format/{train,valid,test}.txt,
    SHA256SUMS. MRs are disjoint between the splits; of the test MRs three in four have a name that
    no training MR has. Returns (rows, distinct MRs) per file. Raises ValueError for sizes below 2
    rows or 1 MR. Raises ValueError too for a file of one of these names that is not an
    earlier call's, such as E2E's own.
    """
    if min(train_rows - 1, valid_rows - 1, test_mrs) < 1:
        raise ValueError(
            f"demo data: got train_rows={train_rows}, valid_rows={valid_rows}, "
            f"test_mrs={test_mrs}; at least 2 rows and 1 MR are needed"
        )
    out_dir = Path(out_dir)
    rng = Random(seed)
    names = list(RESTAURANT.names)
    rng.shuffle(names)
    new, known = names[: len(names) // 4], names[len(names) // 4 :]
    seen: set[str] = set()
    test = []
    for index in range(test_mrs):
        pool = known if index % 4 == 3 else new
        test += _task_rows(rng, pool, rng.randint(4, 6), 6, seen)
    splits = {
        ("trainset.csv", "train.txt"): _task_rows(rng, known, train_rows, 2, seen),
        ("devset.csv", "valid.txt"): _task_rows(rng, known, valid_rows, 2, seen),
        ("testset_w_refs.csv", "test.txt"): test,
    }
    texts, counts = {}, {}
    for (csv_name, lora_name), rows in splits.items():
        texts[csv_name] = _csv_text(rows)
        texts[f"lora_format/{lora_name}"] = "".join(
            f"{linearise(mr)}||{tokenise(text)} \n" for mr, text in rows
        )
        mrs = [linearise(mr) for mr, _ in rows]
        counts[csv_name] = counts[f"lora_format/{lora_name}"] = (len(mrs), len(set(mrs)))
    _check_replaceable(out_dir, texts)
    check_sums(out_dir, texts)
    for name, text in texts.items():
        write_text(out_dir / name, text)
    write_sums(out_dir, {name: file_sha256(out_dir / name) for name in texts})
    return counts


def _check_replaceable(out_dir: Path, texts: dict[str, str]) -> None:
    """An earlier call's files are those whose checksums its SHA256SUMS has, and no others. The
    folder of E2E's own has such a file, too, with the same names.
    """
    sums = out_dir / "SHA256SUMS"
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    listed = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    for name, text in texts.items():
        path = out_dir / name
        if path.is_file() and path.read_bytes() != text.encode("utf-8"):
            found = file_sha256(path)
            earlier = listed.keys() == texts.keys() and listed[name] == found
            if not earlier or found in E2E_SUMS.values():
                raise ValueError(
                    f"{path} is not the demo's, and is not replaced; choose another --dir"
                )
