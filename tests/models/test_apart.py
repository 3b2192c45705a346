"""Attention in parts gives what attention with a mask gives, for every cache, and leaves out what nobody sees."""

import numpy as np
import pytest
import torch
from test_denoiser import make
from test_session import close, question

import nap.models.apart as apart
import nap.models.denoiser as denoiser
from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.visibility import Layout, Positions
from nap.data.trace import HEADER, PROMPT
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.attention import attention_mask, products
from nap.models.load import load
from nap.models.session import open_session


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def folder(request, tmp_path):
    torch.manual_seed(0)
    make(tmp_path, request.param, **{"block_size": 4} if request.param == "qwen3" else {})
    return str(tmp_path)


@pytest.fixture
def always(monkeypatch):
    """Even canvases of a few tokens are taken apart, on every machine; the sizes of parts that were met."""
    met = list[list[tuple[int, ...]]]()

    def watched(seen, query_BQ, device):
        found = apart.parts(seen, query_BQ, device)
        met.append([(*part.query_GQ.shape, part.key_GK.shape[1]) for part in found or []])
        return found

    monkeypatch.setattr(apart, "FEWEST_HIDDEN", 1)
    monkeypatch.setattr(apart, "MOST_SIZES", 9)
    monkeypatch.setattr(denoiser, "parts", watched)
    monkeypatch.setattr("nap.models.load.onednn_is_exact", lambda: True)
    return met


def canvases(model, rows: int = 1, positions: Positions = "canvas"):
    """A prompt of 3, three paths of a header and 4 tokens, and a summary of a header and 3."""
    slots = [code for slot in range(4) for code in (HEADER, *[slot] * (4 - (slot == 3)))]
    region = np.array([PROMPT] * 3 + slots)
    ids = np.where(region == PROMPT, 5, np.where(region == HEADER, 6, model.mask_id))
    spec = CanvasSpec(paths=3, path_tokens=4, summary_tokens=3, attention="paths", positions=positions)
    return [Canvas(ids=ids, region=region, spec=spec, problem_id=str(row)) for row in range(rows)]


def whole(monkeypatch, folder):
    """The same model under a mask."""
    monkeypatch.setattr(denoiser, "takes_parts", lambda body: False)
    return load(folder)


@pytest.mark.parametrize("cache", ["none", "exact", "dual", "delayed", "drift"])
@pytest.mark.parametrize("rows", [1, 2])
def test_the_same_tokens_are_written(folder, always, monkeypatch, cache, rows):
    apart_one, one = load(folder), whole(monkeypatch, folder)
    written = [
        [trace.final for trace in decode_traces(
            model, canvases(model, rows=rows), parse_policy("parallel_forced"), budget=Budget(tokens=3), cache=cache
        )]
        for model in (apart_one, one)
    ]  # fmt: skip
    assert written[0] == written[1] and any(always)


@pytest.mark.parametrize("positions", ["canvas", "parallel"])
def test_logits_are_the_same(folder, always, monkeypatch, positions):
    said = []
    for model in (load(folder), whole(monkeypatch, folder)):
        canvas, session = canvases(model, positions=positions)[0], open_session(model)
        session.admit(0, canvas)
        said.append(session.ask([question(0, canvas)]).logits(slice(None)))
    assert close(*said) and any(always)


def test_the_paths_are_one_product_and_what_they_do_not_see_is_left_out(tmp_path, always):
    make(tmp_path, "llama")
    model = load(str(tmp_path))
    session = open_session(model)
    (canvas,) = canvases(model)
    session.admit(0, canvas)
    session.ask([question(0, canvas)])
    # The prompt of 3 sees itself, each of 3 paths the prompt and its 5 tokens, the summary of 4 everything.
    assert always == [[(1, 3, 3), (1, 4, 22), (3, 5, 8)]]


def halves(each: int) -> Layout:
    """Two paths of this length, with neither prompt nor summary."""
    return Layout(np.repeat([[0, 1]], each, axis=1), "paths", paths=2)


def test_rows_that_differ_and_what_saves_little_keep_their_mask():
    cpu = torch.device("cpu")
    seen = apart.shared_sight(halves(256), None)
    assert seen
    (part,) = apart.parts(seen, None, cpu) or []
    assert (part.query_GQ.shape, part.key_GK.shape) == ((2, 256), (2, 256))
    assert apart.parts(seen, np.arange(64)[None], cpu) is None  # few positions ask
    assert apart.parts(seen, np.array([np.arange(400), np.arange(100, 500)]), cpu) is None
    blocks = apart.shared_sight(halves(256), 4)
    assert blocks and apart.parts(blocks, None, cpu) is None  # as many sizes as blocks
    ragged = Layout(np.array([[0, 0, 1, 1], [0, 0, 0, 1]]), "paths", paths=2)
    mixed = Layout(np.array([[0, 0, 1, 1]] * 2), ("paths", "full"), paths=2)
    assert apart.shared_sight(ragged, None) is apart.shared_sight(mixed, None) is None
    assert apart.shared_sight(Layout(np.zeros((1, 4), np.int64)), None) is None  # all see all


def test_parts_that_would_be_too_many_scores_are_computed_in_turn(monkeypatch):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 12, 8) for _ in range(3))
    monkeypatch.setattr(apart, "FEWEST_HIDDEN", 1)
    layout, cpu = halves(6), torch.device("cpu")
    seen = apart.shared_sight(layout, None)
    assert seen
    found, mask = apart.parts(seen, None, cpu), attention_mask(layout, dtype=torch.float32, device=cpu)
    module, shared = torch.nn.Identity(), (key[:, :2], value[:, :2])
    assert found
    for most in (1 << 22, 200, 1):
        monkeypatch.setattr("nap.models.attention.MOST_SCORES", most)
        assert close(products(module, query, *shared, found)[0], products(module, query, *shared, mask)[0])
        assert close(products(module, query, key, value, found)[0], products(module, query, key, value, mask)[0])
