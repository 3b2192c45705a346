"""The fast scorer gives what two forwards a segment give, a server what its model gives; bad scorers are refused."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

import nap.dependence.scorer
from nap.common.files import InputError
from nap.dependence.scorer import open_scorer
from nap.dependence.segments import Row, segment
from nap.dependence.seqdep import MEASURES, Branch, Reading, measure, measure_corpus
from scorers import brute_force, character_tokenizer, save_causal

pytest.importorskip("openai")

POEM = "the cat sat\non the mat.\n\nIt was fat,\nand that\nwas that: a long line follows here\nend"
KINDS = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "mistral-window": ("Mistral", {"sliding_window": 8}),
    "qwen3-tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 8}),
}


def saved(folder, kind):
    name, changes = KINDS[kind]
    model = getattr(transformers, f"{name}LMHeadModel", None) or getattr(transformers, f"{name}ForCausalLM")
    return save_causal(folder, model, getattr(transformers, f"{name}Config"), **changes)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "llama", "llama")


def assert_equals_brute_force(scorer, folder, text):
    own = measure(scorer, text)
    with_history, alone = brute_force(folder, text)
    np.testing.assert_allclose(own.given_history, with_history, atol=1e-4, rtol=0)
    np.testing.assert_allclose(own.baseline["seqdep"], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["lines", "tokens:7"])
def test_one_reading_gives_what_two_forwards_a_segment_give(tmp_path, kind, how):
    folder = saved(tmp_path / kind, kind)
    scorer = open_scorer(str(folder))
    assert scorer.branches_share == (kind != "mistral-window")
    for prompt in ("", "What did the cat do?"):
        assert_equals_brute_force(scorer, folder, segment(Row("poem", prompt, POEM), how, scorer.encode))


@pytest.mark.parametrize("tokens", [1, 5, 16])
def test_the_size_of_a_forward_changes_no_number(llama, monkeypatch, tokens):
    scorer = open_scorer(str(llama))
    text = segment(Row("poem", "", POEM), "lines", scorer.encode)
    monkeypatch.setattr(nap.dependence.scorer, "FORWARD", tokens)
    assert_equals_brute_force(scorer, llama, text)


def test_branches_leave_the_trunk_at_different_places_in_any_sequence(llama):
    scorer = open_scorer(str(llama))
    trunk, branches = tuple(range(3, 30)), [Branch(2, (5, 6)), Branch(27, (9,)), Branch(1, (1, 2, 3)), Branch(9, (8,))]
    [(_, together)] = scorer.score([Reading(trunk, branches, 5)])
    apart = [found.branches[0] for found in scorer.score([Reading(trunk, [branch], 5) for branch in branches])]
    whole = [scorer.score([Reading(trunk[:after] + ids, [], after)])[0].trunk.sum() for after, ids in branches]
    np.testing.assert_allclose(together, apart, atol=1e-5)
    np.testing.assert_allclose(together, whole, atol=1e-5)


@pytest.mark.parametrize("tokens", [4, 60, 200, 1000])
def test_texts_that_share_a_forward_change_no_number_of_each_other(llama, monkeypatch, tokens):
    apart, together = open_scorer(str(llama)), open_scorer(str(llama))
    texts = [segment(Row("", prompt, POEM[:end]), "tokens:5", apart.encode) for prompt in "ab" for end in (20, 60, 40)]
    apart.branches_share = False
    monkeypatch.setattr(nap.dependence.scorer, "FORWARD", tokens)
    for one, other in zip(measure_corpus(apart, texts), measure_corpus(together, texts), strict=True):
        np.testing.assert_allclose(other.given_history, one.given_history, atol=1e-4)
        for measure_name in MEASURES:
            np.testing.assert_allclose(other.baseline[measure_name], one.baseline[measure_name], atol=1e-4)
        assert np.isfinite(other.baseline["excess"]).any() and np.isfinite(other.baseline["control"]).any()


def test_text_that_looks_like_a_special_token_is_only_text(llama):
    scorer = open_scorer(str(llama))
    assert len(scorer.encode("a<unk>b")) == 7


def test_a_short_number_type_is_close_and_has_to_be_asked_for(llama):
    exact, short = open_scorer(str(llama)), open_scorer(str(llama), dtype="bfloat16")
    assert exact.model.dtype == torch.float32 and short.model.dtype == torch.bfloat16
    text = segment(Row("poem", "", POEM), "lines", exact.encode)
    assert measure(short, text).per_token() == pytest.approx(measure(exact, text).per_token(), abs=0.1)


# Scorers that are refused


def broken(folder, llama, how):
    folder.mkdir()
    for file in llama.iterdir():
        if not (how == "no tokenizer" and file.name.startswith("tokenizer")):
            (folder / file.name).write_bytes(file.read_bytes())
    if how == "cut":
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        tensors.pop("model.norm.weight")
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if how == "other tokenizer":
        save_causal(folder, vocab_size=50)
    if how == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    if how in ("masked", "remote"):
        change = {"masked": {"mask_token_id": 5}, "remote": {"model_type": "mine", "auto_map": {"AutoConfig": "m.C"}}}
        config = json.loads((folder / "config.json").read_text()) | change[how]
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "m.py").write_text("raise SystemExit('foreign code ran')")
    return str(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no tokenizer", "has no tokenizer"),
        ("other tokenizer", "its tokenizer has token"),
        ("cut", "lacks 1 tensors"),
        ("pickle", "pickled weights"),
        ("masked", "masked diffusion model"),
        ("remote", "does not load"),
    ],
)
def test_a_folder_that_is_no_whole_causal_model_is_refused(tmp_path, llama, how, said):
    with pytest.raises(InputError, match=said):
        open_scorer(broken(tmp_path / "broken", llama, how)).encode(POEM)


@pytest.mark.parametrize("flags", [{"tokenizer": "x"}, {"model": "x"}])
def test_a_servers_flags_are_refused_for_a_folder(llama, flags):
    with pytest.raises(InputError, match="is for servers"):
        open_scorer(str(llama), **flags)


# A server


class Handler(BaseHTTPRequestHandler):
    """What vLLM does with echo and logprobs, for token ids and one model; `server.fault` makes it another server."""

    def log_message(self, format, *args):
        pass

    def _send(self, body, status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        names = [] if self.server.fault == "no model" else ["tiny"]
        self._send(
            {"object": "list", "data": [{"id": n, "object": "model", "created": 0, "owned_by": ""} for n in names]}
        )

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(asked)
        if self.server.fault == "garbage":
            return self._send("hello")
        if self.server.fault == "error":
            return self._send({"error": {"message": "this model cannot echo"}}, 400)
        assert asked["echo"] and asked["model"] == "tiny" and self.path == "/v1/completions"
        choices = [self._choice(index, ids) for index, ids in enumerate(asked["prompt"])]
        # A server may answer in any sequence.
        return self._send(
            {"id": "1", "object": "text_completion", "created": 0, "model": "tiny", "choices": choices[::-1]}
        )

    def _choice(self, index, ids):
        with torch.no_grad():
            scores = self.server.lm(torch.tensor([ids])).logits[0].log_softmax(-1)
        known = [None, *(scores[i, token].item() for i, token in enumerate(ids[1:]))]
        written = {"no echo": [], "holes": [None] * len(known)}.get(self.server.fault, known)
        logprobs = None if self.server.fault == "no logprobs" else {"token_logprobs": [*written, -1.5]}
        return {"index": index, "text": "", "finish_reason": "length", "logprobs": logprobs}


@pytest.fixture
def server(llama):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.lm, running.fault, running.requests = AutoModelForCausalLM.from_pretrained(llama), None, []
        running.url = f"http://127.0.0.1:{running.server_port}/v1"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_server_gives_what_its_model_gives_in_a_folder(llama, server, monkeypatch):
    monkeypatch.setattr(nap.dependence.scorer, "REQUEST", 4)
    remote, local = open_scorer(server.url, tokenizer=str(llama)), open_scorer(str(llama))
    text = segment(Row("poem", "A cat?", POEM), "lines", local.encode)
    there, here = measure(remote, text), measure(local, text)
    np.testing.assert_allclose(there.given_history, here.given_history, atol=1e-4)
    np.testing.assert_allclose(there.baseline["seqdep"], here.baseline["seqdep"], atol=1e-4)
    assert max(len(request["prompt"]) for request in server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no model", "lists no model"),
        ("error", "cannot echo"),
        ("no echo", "must support echo"),
        ("no logprobs", "must support echo"),
        ("garbage", "0 answers to"),
        ("holes", "is no number"),
    ],
)
def test_a_server_that_scores_no_prompts_is_refused_with_what_it_needs(llama, server, fault, said):
    server.fault = fault
    with pytest.raises(InputError, match=said):
        scorer = open_scorer(server.url, tokenizer=str(llama))
        measure(scorer, segment(Row("poem", "", POEM), "lines", scorer.encode))


def test_a_server_needs_a_tokenizer_and_an_answer(llama, monkeypatch):
    with pytest.raises(InputError, match="--tokenizer DIR"):
        open_scorer("http://127.0.0.1:9/v1")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    with pytest.raises(InputError, match="does not answer"):
        open_scorer("http://127.0.0.1:9/v1", tokenizer=str(llama))


def test_the_character_tokenizer_of_these_tests_spells_everything_back():
    tokenizer = character_tokenizer()
    assert tokenizer.decode(tokenizer.encode(POEM)) == POEM
