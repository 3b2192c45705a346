"""Which rows of a run's folder another command may reuse, so that a run can grow.

A run grows by problems, policies, paces, caches and models. A finished row is reused where its digest `made_of` is the
same: that of the model's files and setting, the canvas, the prompt, the problem and the random draws. Which problems,
policies, paces and caches are asked for only sets the extent of a run. Settings that every row depends on must be the
same in the whole folder.

Does not decode (run.py).
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace

from nap.canvas.canvas import Canvas
from nap.common.folder import Setting, digest
from nap.common.text import printable
from nap.data.problems import Problem
from nap.evaluation.rows import Entry
from nap.evaluation.sweep import Cell, Sweep

Key = tuple[str, str]  # the names of a cell and of a problem

# Settings that only set the extent of a run. The problems themselves are in the digest of each row.
EXTENT = (
    "models", "policies", "tokens_per_step", "steps", "cache", "problems", "skip", "split", "data",
    "prompt_field", "answer_field", "strict", "traces",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a model's rows depend on: `said` for the folder's setting, and a digest for each cache and problem id.

    earlier  the same digests as versions wrote them that noted no files of a model but its weights
    """

    said: Setting
    digests: Mapping[tuple[str, str], str]
    earlier: Mapping[tuple[str, str], str]


def identify(said: Setting, sweep: Sweep, problems: Sequence[Problem], canvases: Sequence[Canvas]) -> Identity:
    """The identity of a model with these settings (`said`), which gets the problems as these canvases."""
    found: list[dict[tuple[str, str], str]] = [{}, {}]
    for digests, noted in zip(found, (said, _without_files(said)), strict=True):
        for cache in sweep.cache:
            drawn = [asdict(sweep.sampling), sweep.eos, sweep.seed, cache, sweep.task]
            shared = json.dumps([noted, drawn], sort_keys=True).encode()
            for problem, canvas in zip(problems, canvases, strict=True):
                own = json.dumps(asdict(problem), sort_keys=True).encode() + canvas.ids.tobytes()
                digests[cache, problem.id] = digest(shared + own)
    return Identity(said=said, digests=found[0], earlier=found[1])


def _without_files(said: Setting) -> Setting:
    return {name: value for name, value in said.items() if name != "files"}


def compared(old: Setting, now: Setting) -> tuple[dict[str, object], dict[str, object]]:
    """The parts of two settings of one folder that must agree: all but their extent, for models and guides of both."""
    models = {name: _files_of(old, name) for name in _models(old).keys() & _models(now).keys()}
    guides = _guides(old).keys() & _guides(now).keys()
    found = _identity_of(old, models, guides), _identity_of(now, models, guides)
    # Earlier versions had one cache a folder, and did not name it in their rows.
    one, asked = old.get("cache", "none"), now.get("cache")
    if isinstance(one, str) and one != "none" and isinstance(asked, list | tuple) and one not in asked:
        found[0]["cache"], found[1]["cache"] = one, asked
    return found


def _models(setting: Setting) -> dict[str, object]:
    return _made_of(setting, "models")


def _guides(setting: Setting) -> dict[str, object]:
    """The digest of the second model of each policy that has one."""
    return _made_of(setting, "guides")


def _made_of(setting: Setting, what: str) -> dict[str, object]:
    made_of = setting.get("made_of")
    found = made_of.get(what) if isinstance(made_of, dict) else None
    return found if isinstance(found, dict) else {}


def weights_of(setting: Setting, model: str) -> object:
    """The digest of a model's weights, where a folder's setting has it."""
    said = _models(setting).get(model)
    return said.get("weights") if isinstance(said, dict) else None


def _files_of(setting: Setting, model: str) -> bool:
    """Whether the folder notes the files of a model; earlier versions noted its weights alone."""
    said = _models(setting)[model]
    return isinstance(said, dict) and "files" in said


def _identity_of(setting: Setting, models: Mapping[str, bool], guides: Set[str]) -> dict[str, object]:
    """The parts that must agree; `models` says of each whether its files are noted."""
    kept = {name: value for name, value in setting.items() if name not in (*EXTENT, "made_of")}
    own = {name: said for name, said in _models(setting).items() if name in models}
    # Earlier versions wrote a digest of all prompts together.
    unlike = {name: ("inputs",) if noted else ("inputs", "files") for name, noted in models.items()}
    own = {
        name: {key: value for key, value in said.items() if key not in unlike[name]} if isinstance(said, dict) else said
        for name, said in own.items()
    }
    asked = {text: digest for text, digest in _guides(setting).items() if text in guides}
    return kept | {"made_of": {"models": own, "guides": asked}}


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """The entries of a journal that are reused (`done`), done again (`stale`), and not asked for (`others`).

    renamed  those of `done` that an earlier version wrote under another name
    unsaid   how many of `done` are of an earlier version, which noted no files of a model but its weights
    """

    done: Mapping[Key, Entry]
    stale: Sequence[Key]
    others: Sequence[Key]
    renamed: Sequence[Entry] = ()
    unsaid: int = 0


def reusable(
    journal: Mapping[Key, Entry],
    cells: Sequence[Cell],
    problems: Sequence[Problem],
    identities: Mapping[str, Identity],
    traces: int,
) -> Reuse:
    """The entries that these cells and problems can reuse; the first `traces` problems need their trace."""
    done, stale, asked, renamed, unsaid = dict[Key, Entry](), list[Key](), set[Key](), list[Entry](), 0
    for cell in cells:
        own = identities[cell.model]
        for index, problem in enumerate(problems):
            key, at = (cell.name, problem.id), (cell.cache, problem.id)
            made_of = own.digests[at], own.earlier[at]
            asked.add(key)
            entry = journal.get(key)
            if entry is None and (entry := _earlier(journal, cell, problem, made_of)):
                asked.add(entry.key)
                entry = replace(entry, row=replace(entry.row, cell=cell.name, cache=cell.cache))
                renamed.append(entry)
            if entry is None:
                continue
            if entry.made_of not in (None, *made_of):
                stale.append(key)
            elif index >= traces or entry.trace is not None:
                done[key] = entry
                unsaid += entry.made_of != made_of[0]
    # Entries of an earlier version count under their new name, and are in the journal under their old one too.
    known = {entry.made_of for entry in done.values()}
    stale = [key for key in stale if journal[key].made_of not in known]
    others = [key for key in journal if key not in asked]
    return Reuse(done=done, stale=stale, others=others, renamed=renamed, unsaid=unsaid)


def _earlier(journal: Mapping[Key, Entry], cell: Cell, problem: Problem, made_of: tuple[str, str]) -> Entry | None:
    """The entry of a version that named no cache, if it was made with this one."""
    entry = journal.get((cell.earlier_name, problem.id))
    return entry if entry and entry.made_of in made_of else None


def tell(found: Reuse, left: int, say: Callable[[str], None]) -> None:
    """Tell the user what is reused, and name what is not."""
    if found.done and left:
        say(f"{len(found.done)} finished rows are used again, {left} are to do")
    if found.unsaid:
        say(
            f"{found.unsaid} of the finished rows are of an earlier version, which noted a model's weights alone: that "
            "its config, tokenizer and base are still the same is taken for granted; another folder makes sure"
        )
    if found.stale:
        cell, problem = found.stale[0]
        say(
            f"{len(found.stale)} finished rows are of other problems or prompts behind the same names, and are decoded "
            f"again; the first is {printable(problem)} under {printable(cell, 200)}"
        )
    if found.others:
        names = [*dict.fromkeys(cell for cell, _ in found.others)]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(
            f"{len(found.others)} finished rows are not asked for now and stay in the journal: "
            f"of {printable(names[0], 200)}{more}"
        )
