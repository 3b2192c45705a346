"""Small records in the shape of each other system become traces that say the same."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from nap.cli import main
from nap.commands.trace import TraceImport
from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, HEADER, OUTSIDE, PROMPT, REMASK
from nap.data.trace_files import read_traces
from nap.models.load import load
from nap.order import arrays
from nap.order.arness import global_arness
from nap.order.importers import Known, from_canvases, from_pairs, import_traces
from nap.order.measure import measure
from nap.order.order import bare_order, order_of
from tiny import change_json

M, EOS = 99, 2
KNOWN = Known(mask_id=M, uncounted=(EOS,))

# One run each, as their samplers keep them. dllm: batch of two, prompts of two and one token, padded right with the
# end of text; the first canvas is the start.
DLLM = [
    [[5, 6, M, M, M], [5, M, M, M, EOS]],
    [[5, 6, M, 7, M], [5, 8, M, M, EOS]],
    [[5, 6, 9, 7, EOS], [5, 8, 9, 3, EOS]],
]
# Dream: padded left, the first canvas is what the first step left.
DREAM = [[[EOS, 5, 7, M, M]], [[EOS, 5, 7, M, 8]], [[EOS, 5, 7, 9, 8]]]


def changes(trace):
    return [(event.step, event.kind, event.position, event.token) for event in trace.events]


def test_dllm_histories_become_one_trace_a_row(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({"histories": DLLM}))
    first, second = import_traces(tmp_path / "d.json", "dllm", KNOWN)
    assert changes(first) == [(0, COMMIT, 3, 7), (1, COMMIT, 2, 9), (1, COMMIT, 4, EOS)]
    assert first.region == (PROMPT, PROMPT, 0, 0, 0) and second.region == (PROMPT, 0, 0, 0, OUTSIDE)
    assert first.final == DLLM[-1][0] and second.final == DLLM[-1][1]
    assert (first.forwards, first.problem_id, second.problem_id) == (2, "d-1", "d-2")
    assert order_of(first).positions.tolist() == [2, 3], "end of text does not count"


def test_dllm_histories_whose_canvas_grows_by_blocks_are_masked_to_the_last_length():
    trace = from_canvases([[5, M, M], [5, 7, M], [5, 7, 8, M, M], [5, 7, 8, 9, 6]], KNOWN)
    assert trace.initial == (5, M, M, M, M)
    assert changes(trace) == [(0, COMMIT, 1, 7), (1, COMMIT, 2, 8), (2, COMMIT, 3, 9), (2, COMMIT, 4, 6)]


def test_dreams_history_starts_after_the_first_step_so_the_prompts_length_gives_the_start(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({"history": DREAM}))
    (trace,) = import_traces(tmp_path / "d.json", "dream", Known(mask_id=M, prompt_tokens=2))
    assert trace.initial == (EOS, 5, M, M, M) and trace.forwards == 3
    assert [event.step for event in trace.events] == [0, 1, 2]
    with pytest.raises(InputError, match="--prompt-tokens"):
        list(import_traces(tmp_path / "d.json", "dream", KNOWN))
    # Its truncated schedule may write nothing in the first step, which is a forward all the same.
    (tmp_path / "d.json").write_text(json.dumps({"history": [[[EOS, 5, M, M, M]], *DREAM]}))
    (trace,) = import_traces(tmp_path / "d.json", "dream", Known(mask_id=M, prompt_tokens=2))
    assert (trace.forwards, trace.steps, [event.step for event in trace.events]) == (4, 4, [1, 2, 3])


def test_canvases_show_what_was_masked_again_and_edited():
    trace = from_canvases([[M, M], [7, 8], [M, 9], [7, 9]], KNOWN)
    assert [(step, kind, position) for step, kind, position, _ in changes(trace)] == [
        (0, COMMIT, 0), (0, COMMIT, 1), (1, REMASK, 0), (1, EDIT, 1), (2, COMMIT, 0),
    ]  # fmt: skip


def test_given_text_between_the_masks_is_clamped():
    assert from_canvases([[5, M, 6, M], [5, 7, 6, 8]], KNOWN).region == (PROMPT, 0, HEADER, 0)


def test_pairs_measure_as_the_bare_order_does(tmp_path):
    pairs = [[[0, 0], [1, 1], [3, 0], [2, 4]], [[5, 1], [4, 0]]]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    for trace, given in zip(import_traces(tmp_path / "p.jsonl", "pairs", Known()), pairs, strict=True):
        ours, bare = measure(trace).json(), measure(bare_order(given)).json()
        for name in ("n_tokens", "afp", "tau_b", "global_arness@1", "local_arness@1"):
            assert ours[name] == bare[name], name


def test_tensors_and_arrays_are_taken_as_they_are(tmp_path):
    lists = [[5, M, M], [5, 7, M], [5, 7, 8]]
    traces = [from_canvases(lists, KNOWN), from_canvases([torch.tensor(row) for row in lists], KNOWN)]
    np.save(tmp_path / "c.npy", np.array(lists))
    traces += import_traces(tmp_path / "c.npy", "canvases", KNOWN)
    assert len({(trace.initial, tuple(changes(trace))) for trace in traces}) == 1
    assert global_arness(order_of(from_pairs(np.array([[0, 0], [1, 1]]), Known()))) == 1


@pytest.mark.parametrize(
    ("value", "source", "said"),
    [
        ([], "canvases", "a run is a list of canvases"),
        ([[]], "canvases", "a run is a list of canvases"),
        ([[M, "x"]], "canvases", "a token id is a whole number"),
        ([[M, True]], "canvases", "a token id is a whole number"),
        ([[M, -1]], "canvases", "a token id is a whole number"),
        ([[M, M], [7]], "canvases", "shorter than the one before"),
        ([[1, 2], [1, 3]], "canvases", "is the mask id right?"),
        ([[5, M], [6, M]], "canvases", "step 0 changes position 0"),
        ({"sequences": [[1]]}, "dllm", "must have one of canvases, histories"),
        ({"histories": [[M]]}, "dllm", "a run is a list of canvases"),
        ({"histories": [[[M]], [[M], [M]]]}, "dllm", "[steps, batch, length]"),
        (7, "dllm", "[steps, batch, length]"),
        ([[0, 0], [0, 1]], "pairs", "more than once"),
        ([[2_000_000, 0]], "pairs", "further than any canvas"),
    ],
)
def test_a_record_that_is_none_is_refused_by_file_and_line(tmp_path, value, source, said):
    (tmp_path / "bad.json").write_text(json.dumps(value))
    with pytest.raises(InputError) as refused:
        list(import_traces(tmp_path / "bad.json", source, KNOWN))
    assert said in str(refused.value) and "bad.json:1: " in str(refused.value)


def test_files_that_hold_nothing_or_pickles_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    for name, said in (("empty.jsonl", "holds no run"), ("objects.npy", "not a .npy"), ("none.npy", "no such file")):
        with pytest.raises(InputError, match=said):
            list(import_traces(tmp_path / name, "canvases", KNOWN))


# A canvas of NAP as another system records it: a prompt, two paths and a summary.
TAGGED = [50, 61, M, M, 62, 60, M, M, 63, M]
TEXTS = {50: "How many?", 61: "<think 1>", 62: "<think", 60: " 2>", 63: " <summary>", 7: "seven", 8: "eight", M: "·"}


def test_a_canvas_of_nap_is_told_apart_into_its_paths_and_summary_by_its_tags():
    known = Known(mask_id=M, text=TEXTS.__getitem__)
    done = [50, 61, 7, 8, 62, 60, 8, 7, 63, 7]
    trace = from_canvases([TAGGED, done], known)
    assert trace.region == (PROMPT, HEADER, 0, 0, HEADER, HEADER, 1, 1, HEADER, 2)
    assert trace.paths == 2 and trace.final == done
    plain = from_canvases([TAGGED, done], Known(mask_id=M))
    assert plain.region[2:4] == plain.region[6:8] == (0, 0), "without texts nobody can know"


@pytest.mark.parametrize("swapped", [{62: "<think", 60: " 3>"}, {63: "and then"}, {61: "<summary>"}], ids=str)
def test_tags_that_make_no_canvas_of_nap_leave_one_slot(swapped):
    trace = from_canvases([TAGGED, [50, 61, 7, 8, 62, 60, 8, 7, 63, 7]], Known(mask_id=M, text=(TEXTS | swapped).get))
    assert max(trace.region) == 0 and trace.region[0] == trace.region[1] == PROMPT


@pytest.mark.parametrize("name", ["one.npz", "steps.npz", "one.pt", "list.pt", "plain.npy"])
def test_arrays_and_tensors_that_are_saved_say_what_json_says(tmp_path, name):
    path, canvases = tmp_path / name, np.array(DLLM)
    steps = dict(zip(("arr_0", "arr_1", "arr_10"), canvases, strict=True))
    writers = {
        "one.npz": lambda: np.savez(path, histories=canvases),
        "steps.npz": lambda: np.savez(path, **steps),
        "one.pt": lambda: torch.save({"histories": torch.tensor(DLLM)}, path),
        "list.pt": lambda: torch.save([torch.tensor(step) for step in DLLM], path),
        "plain.npy": lambda: np.save(path, canvases),
    }
    writers[name]()
    first, second = import_traces(path, "dllm", KNOWN)
    assert first.final == DLLM[-1][0] and second.final == DLLM[-1][1] and first.forwards == 2


class Opens:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_torch_file_that_holds_more_than_tensors_runs_nothing(tmp_path):
    torch.save({"histories": Opens(tmp_path / "ran")}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match=r"bad.pt is not a .pt of integers"):
        list(import_traces(tmp_path / "bad.pt", "dllm", KNOWN))
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MOST_BYTES", 1000)
    np.savez_compressed(tmp_path / "big.npz", histories=np.zeros((100, 10), int))
    with pytest.raises(InputError, match="MB unpacked"):
        list(import_traces(tmp_path / "big.npz", "dllm", KNOWN))


@pytest.mark.parametrize("length", [4, 99, 2**64])
def test_a_prompt_as_long_as_its_canvas_is_refused(length):
    with pytest.raises(InputError, match=f"a prompt of {length} tokens leaves nothing of a canvas of 4"):
        from_canvases([[5, M, M, M], [5, 7, M, M]], replace(KNOWN, prompt_tokens=length))


def test_the_mask_must_be_known():
    with pytest.raises(InputError, match="--mask-id"):
        from_canvases([[M]], Known())


def test_the_command_takes_texts_mask_and_padding_from_a_tokenizer(tmp_path, tiny, monkeypatch, capsys):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    mask, (word,) = tokenizer.mask_token_id, tokenizer("Ann", add_special_tokens=False).input_ids
    lines = [[[mask, mask], [word, mask], [word, tokenizer.pad_token_id]]]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    files = [str(tmp_path / "c.jsonl"), str(tmp_path / "t.jsonl")]
    command = ["nap", "trace", "import", *files, "--source", "canvases", "--tokenizer", str(tiny)]
    monkeypatch.setattr("sys.argv", [*command, "--model", "theirs"])
    main()
    (trace,) = read_traces(files[1])
    assert trace.vocabulary[word] == "Ann" and trace.mask_id == mask and tokenizer.pad_token_id in trace.uncounted
    assert trace.setting == {"model": "theirs", "policy": "imported"} and len(order_of(trace)) == 1
    monkeypatch.setattr("sys.argv", [*command, "--tokenizer", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "has no tokenizer" in capsys.readouterr().err


def test_an_imported_trace_counts_what_a_decode_of_the_same_model_counts(tmp_path, tiny):
    folder = shutil.copytree(tiny, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # The weights have no rows for more tokens, so that words of the task take their places.
    turn, end, word = (tokenizer.convert_tokens_to_ids(text) for text in ("Ann", "Bob", "has"))
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace('"Ann"', '"<|eot_id|>"'))
    change_json(folder / "config.json", eos_token_id=[tokenizer.pad_token_id, end])
    own, mask = load(str(folder)), tokenizer.mask_token_id
    lines = [[[mask] * 4, [word, mask, mask, mask], [word, mask, turn, turn], [word, end, turn, turn]]]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    file, out = str(tmp_path / "c.jsonl"), str(tmp_path / "t.jsonl")
    TraceImport(file=file, out=out, source="canvases", tokenizer=str(folder)).run()
    (trace,) = read_traces(out)
    assert {turn, end} < {*trace.uncounted} == {own.pad_id, *own.eos_ids} and len(order_of(trace)) == 1


@pytest.mark.parametrize(
    ("kind", "shape", "said"),
    [
        ("'<i8'", "(99999999999,)", "its header says .* bytes, and it has 64"),
        ("'<i8'", "(1000000000,1000000000,1000000000)", "its header says"),
        ("'<i8'", "(-1,8)", "of shape"),
        ("'|O'", "(8,)", "not a .npy of integers"),
        ("'<f8'", "(8,)", "float64"),
        ("'<U1000000000'", "(8,)", "not a .npy of integers"),
        ("[('a','<i8')]", "(8,)", "not a .npy of integers"),
        ("'\x1b[31m'", "(8,)", r"not a .npy of integers \(.*x1b"),
        ("'<i8'", "__import__('os')", "not a .npy of integers"),
        ("(" * 5000, "()", "not a .npy of integers"),
    ],
)
def test_a_npy_whose_header_lies_is_one_line_and_takes_no_memory(tmp_path, kind, shape, said):
    head = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path = tmp_path / "lies.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64))
    with pytest.raises(InputError, match=said) as refused:
        list(import_traces(path, "canvases", KNOWN))
    assert "\n" not in str(refused.value)
