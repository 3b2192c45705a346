"""Small records in the shape of each other system become traces that say the same."""

import json

import numpy as np
import pytest
import torch

from nap.cli import main
from nap.common.files import InputError
from nap.data.trace import COMMIT, EDIT, HEADER, OUTSIDE, PROMPT, REMASK
from nap.data.trace_files import read_traces
from nap.order.arness import global_arness
from nap.order.importers import Known, from_canvases, from_pairs, import_traces
from nap.order.measure import measure
from nap.order.order import bare_order, order_of

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


def test_the_mask_must_be_known():
    with pytest.raises(InputError, match="--mask-id"):
        from_canvases([[M]], Known())


def test_the_command_takes_texts_mask_and_padding_from_a_tokenizer(tmp_path, tiny, monkeypatch, capsys):
    from transformers import AutoTokenizer

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
