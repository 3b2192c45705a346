"""Streamers: our steps go to transformers' own, and their names drive our lanes. Frames and pipes: test_cli.py."""

import io

import pytest
import torch
from rich.console import Console
from transformers import TextStreamer, generation

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace import PROMPT
from nap.decoding.budget import Budget
from nap.decoding.decode import decode
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.decoding.traces import collect, run_setting
from nap.models.load import load
from nap.report.terminal import LaneStreamer, stream
from tiny import QUESTION, SLOTS


@pytest.fixture(scope="module")
def decoding(tiny):
    """A denoiser, its canvas, and a function that decodes anew."""
    denoiser, policy = load(str(tiny)), parse_policy("parallel_forced")
    assert denoiser.canvas is not None
    canvas = canvas_of(denoiser, Problem(id="p", prompt=QUESTION, answer=""), denoiser.canvas)
    return denoiser, canvas, lambda: decode(denoiser, [canvas], policy, budget=Budget(tokens=9))


class Recorder:
    """Keeps what it is sent."""

    def __init__(self):
        self.sent = []

    def put(self, value):
        self.sent.append(("put", value.tolist()))

    def put_draft(self, value):
        self.sent.append(("put_draft", value.tolist()))

    def end(self):
        self.sent.append(("end", None))


def test_a_streamer_gets_the_prompt_a_draft_a_step_and_the_canvas_and_the_steps_pass_through(decoding):
    denoiser, canvas, steps = decoding
    recorder = Recorder()
    passed = list(stream(steps(), canvas, recorder, denoiser.mask_id))
    setting = run_setting(denoiser, parse_policy("parallel_forced"), budget=Budget(tokens=9))
    (trace,) = collect(denoiser, [canvas], passed, setting)
    assert [name for name, _ in recorder.sent] == ["put", *["put_draft"] * trace.steps, "put", "end"]
    prompt = [token for token, code in zip(trace.initial, trace.region, strict=True) if code == PROMPT]
    assert recorder.sent[0][1] == [prompt]
    for step in range(trace.steps):
        assert recorder.sent[step + 1][1] == [trace.canvas_at(step + 1)[len(prompt) :]]
    assert recorder.sent[-2][1] == [trace.final[len(prompt) :]]


@pytest.mark.parametrize("name", ["TextStreamer", "TextDiffusionStreamer"])
def test_the_streamers_of_transformers_plug_in(decoding, capsys, name):
    kind = {"TextStreamer": TextStreamer}.get(name) or getattr(generation, name, None)
    if kind is None:
        pytest.skip(f"this transformers has no {name}")
    denoiser, canvas, steps = decoding
    drawn = list(stream(steps(), canvas, kind(denoiser.tokenizer), denoiser.mask_id))
    out = capsys.readouterr().out
    assert len(drawn) == 3 and "<think 1>" in out and "Ann" in out
    assert ("\x1b[33m" in out) == (name == "TextDiffusionStreamer"), "drafts are yellow"


def lanes_of(**options):
    file = io.StringIO()
    return Console(file=file, width=80, highlight=False, **options), file


def test_lanes_follow_a_decode_without_colour_in_80_columns(decoding):
    denoiser, canvas, steps = decoding
    console, file = lanes_of()
    region = [code for code in canvas.region.tolist() if code != PROMPT]
    streamer = LaneStreamer(denoiser.tokenizer, denoiser.mask_id, region, console)
    list(stream(steps(), canvas, streamer, denoiser.mask_id))
    lines = file.getvalue().splitlines()
    assert [line for line in lines if line.startswith("step")][::2] == ["step 1: 9 written", "step 3: 2 written"]
    assert max(map(len, lines)) <= 80 and "\x1b" not in file.getvalue()
    assert sum("summary │" in line for line in lines) == 3 and SLOTS == 20


class Words:
    """A tokenizer of three hostile words."""

    def decode(self, ids):
        return {0: "<mask>", 1: "one", 2: "\x1b[2Jtwo"}[ids[0]]


def test_a_model_that_streams_drafts_as_transformers_does_is_drawn_in_one_lane():
    """No masks: DiffusionGemma's canvas starts as random tokens, and one canvas follows the other."""
    console, file = lanes_of()
    streamer = LaneStreamer(Words(), console=console)
    streamer.put(torch.tensor([[1, 1]]))
    streamer.put_draft(value=torch.tensor([[1, 2]]))
    streamer.put_draft(value=torch.tensor([[1, 1]]))
    streamer.put(torch.tensor([[1, 1]]))
    streamer.end()
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "step 1: 2 written", "path 1 │ [one] [\\x1b[2Jtwo]", "step 2: 1 written", "path 1 │ one [one]",
    ]  # fmt: skip


def test_what_is_masked_again_is_counted():
    console, file = lanes_of()
    streamer = LaneStreamer(Words(), mask_id=0, console=console)
    for draft in ([0, 1], [1, 0]):
        streamer.put_draft(draft)
    assert "step 2: 1 written, 1 masked again" in file.getvalue()


def test_on_a_terminal_drafts_are_drawn_in_place():
    console, file = lanes_of(force_terminal=True, color_system=None)
    streamer = LaneStreamer(Words(), console=console)
    for draft in ([1, 1], [1, 1], [1, 1]):
        streamer.put_draft(draft)
    streamer.end()
    assert "\x1b[1A" in file.getvalue() and "\x1b[?25h" in file.getvalue(), "moved up, and the cursor is back"


@pytest.mark.parametrize(
    ("draft", "said"), [([[1], [1]], "a batch of 2"), ([1, 1, 1], "3 ids for 2 regions")], ids=["batch", "length"]
)
def test_what_lanes_cannot_show_is_refused(draft, said):
    with pytest.raises(InputError, match=said):
        LaneStreamer(Words(), region=[0, 0], console=lanes_of()[0]).put_draft(torch.tensor(draft))
