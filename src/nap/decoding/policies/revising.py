"""Generate, then edit, by a model that was trained to: it replaces, deletes and inserts (ME-DLM 2605.09603).

Of every token i of a slot it says at once what stands in its place, c_i in V + DEL, and which token follows, n_i in V.
Applied from left to right: a token is deleted or replaced, and n_i is inserted behind it where that is not what follows
anyway. What stands behind moves; a slot has its room, so that nothing is inserted where its last token would fall out.
`nap train --objective edit` trains such a model. Does not draft (drafted.py) or compute (decoding/editor.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nap.decoding.policies.drafted import Drafting, Phase
from nap.decoding.policies.policy import Edits, RowView, Said
from nap.decoding.policies.ranges import SHARE

if TYPE_CHECKING:
    from nap.decoding.editor import Editor

# In a script: the token is taken out.
DELETE = -1


@dataclass(frozen=True, kw_only=True)
class DraftRevise(Drafting):
    """A draft, and then what a trained editor replaces, deletes and inserts, until it edits nothing.

    draft  the policy that drafts, `+` for the commas between its settings
    share  of a row's forwards that may edit; a draft that follows a budget writes so much faster
    edit   an operation needs more than this probability
    """

    reads = ("states",)
    ranges: ClassVar = {**Drafting.ranges, "edit": SHARE}
    guide: "Editor"
    edit: float = 0.5

    @staticmethod
    def open_guide(name: str) -> "Editor":
        """The editor of a folder."""
        from nap.decoding.editor import open_editor

        return open_editor(name)

    def edits(self, row: RowView, said: Said, phase: Phase) -> Edits:
        """What becomes of every slot; the phase ends where that is what it was."""
        now_N, at_N = row.ids_L[said.position_N], said.position_N
        says = self.guide.says(said.states_ND)
        keep_N = (said.token_N == now_N) | (said.model_N * (1 - says.delete_N) <= self.edit)
        c_N = np.where(says.delete_N > self.edit, DELETE, np.where(keep_N, now_N, said.token_N))
        n_N = np.where(says.chance_N > self.edit, says.next_N, DELETE)
        new_N = now_N.copy()
        breaks = np.flatnonzero((np.diff(at_N) > 1) | (np.diff(row.region_L[at_N]) != 0)) + 1
        for part in np.split(np.arange(len(at_N)), breaks):
            tokens, c, n = (column[part].tolist() for column in (now_N, c_N, n_N))
            new_N[part] = revised(tokens, c, n, self.guide.pad_id)
        chosen = np.flatnonzero(new_N != now_N)
        phase.left *= len(chosen) > 0
        return Edits(at_N[chosen], new_N[chosen], guide_calls=1)


def revised(tokens: Sequence[int], c: Sequence[int], n: Sequence[int], pad: int) -> list[int]:
    """The tokens of a slot after one script: c_i in place of token i or DELETE, then n_i (DELETE: nothing) behind it.

    Padding behind the text is room: it is what is filled and what is left. An insertion needs room.
    """
    end = max(1, ended(tokens, pad))
    kept = [i for i in range(end) if c[i] != DELETE]
    after = {i: c[j] for i, j in zip(kept, [*kept[1:], end], strict=False) if j < end}
    room, found = len(tokens) - len(kept), []
    for i in kept:
        found.append(c[i])
        if room and n[i] not in (DELETE, pad) and n[i] != after.get(i, pad):
            found.append(n[i])
            room -= 1
    return found + [pad] * (len(tokens) - len(found))


def script(tokens: Sequence[int], wanted: Sequence[int], pad: int) -> tuple[list[int], list[int]]:
    """(c, n) of every token of a slot, by which `revised` makes it what is wanted: a shortest Levenshtein script.

    Nothing is inserted before the first token, and one token a place: where more are missing, the script of what this
    one makes has the next. Of scripts of one length, that which inserts last.
    """
    end, stop = max(1, ended(tokens, pad)), max(1, ended(wanted, pad))
    same = 0
    while same < min(end, stop) - 1 and tokens[same] == wanted[same]:
        same += 1
    read = [*range(same), *_read(tokens[same:end], wanted[same:stop], same)]
    c, n, last = [pad] * len(tokens), [pad] * len(tokens), -1
    for i, j in enumerate(read):
        c[i], last = (DELETE, last) if j < 0 else (wanted[j], j)
        # What is to be inserted behind a token stands behind what it is read as.
        n[i] = wanted[last + 1] if last + 1 < stop else pad
    return c, n


def _read(tokens: Sequence[int], wanted: Sequence[int], start: int) -> list[int]:
    """For each token which of the wanted it is read as, counted from `start`; -1: it is deleted."""
    rows, columns = len(tokens), len(wanted)
    # Not insertions before the first token, unless something before `start` was kept, behind which they go.
    cost = [[j if start or not j else rows + columns for j in range(columns + 1)]]
    for i in range(rows):
        line = [i + 1]
        for j in range(columns):
            line.append(min(cost[i][j] + (tokens[i] != wanted[j]), cost[i][j + 1] + 1, line[j] + 1))
        cost.append(line)
    found, i, j = [-1] * rows, rows, columns
    while i:
        # An insertion as late as can be: behind equal tokens it would not differ from what follows.
        if j and cost[i][j] == cost[i][j - 1] + 1:
            j -= 1
        elif j and cost[i][j] == cost[i - 1][j - 1] + (tokens[i - 1] != wanted[j - 1]):
            i, j = i - 1, j - 1
            found[i] = start + j
        else:
            i -= 1
    return found


def ended(tokens: Sequence[int], pad: int) -> int:
    """How many tokens stand before the padding at a slot's end."""
    end = len(tokens)
    while end and tokens[end - 1] == pad:
        end -= 1
    return end
