"""`nap train` gives a checkpoint that decodes, goes on after a kill as if nothing had happened, and refuses a mix."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

import nap.training.final as final
import nap.training.trainer as training
from nap.canvas.canvas import CanvasSpec, layout
from nap.common import machine
from nap.common.files import InputError
from nap.data.samples import Path, read_samples, write_samples
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import prompt_ids
from nap.models.load import load
from nap.tasks.arith import Arith
from nap.training.checkpoints import newest_checkpoint
from nap.training.finetune import fine_tune
from nap.training.loss import masked_loss
from nap.training.settings import Hyper, Job, Watch
from tiny import change_json, disk_full_after, environment, nap, recipe, save_tiny

BUNDLED = recipe("bundled")
LLADA = recipe("llada_8b")
SPEC = BUNDLED.canvas_of("arith", "nap")
HYPER = Hyper(steps=6, batch_size=8, rows=8, learning_rate=1e-2)
WATCH = Watch(log_every=1, save_every=3)
quiet = partial(lambda line: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundled-model-shaped checkpoint and a file of 40 samples."""
    folder = tmp_path_factory.mktemp("training")
    save_tiny(folder / "model", spec=SPEC, initializer_range=0.1, max_position_embeddings=160)
    write_samples((Arith().sample(0, index) for index in range(40)), folder / "samples.parquet")
    return folder


def job(place, model="model", spec=SPEC, **changes):
    hyper = replace(HYPER, **changes)
    return Job(model=str(place / model), data=str(place / "samples.parquet"), spec=spec, hyper=hyper)


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses_of(folder):
    return [row["loss"] for row in metrics_of(folder) if "loss" in row]


@pytest.fixture(scope="module")
def whole(place):
    """The run that nothing interrupts."""
    fine_tune(job(place), place / "whole", WATCH, quiet)
    return place / "whole"


def decoded(folder, prompt="Ann has 5 pears ."):
    denoiser = load(str(folder))
    assert denoiser.canvas is not None
    canvas = layout(prompt_ids(denoiser, prompt), denoiser.canvas, denoiser.tokenizer, denoiser.mask_id)
    (trace,) = decode_traces(denoiser, [canvas], parse_policy("parallel_forced"), budget=Budget(tokens=24))
    assert denoiser.mask_id not in trace.final
    return denoiser


def test_what_it_makes_decodes_and_says_what_it_was_made_of(place, whole):
    assert decoded(whole / "final").canvas == SPEC
    card, said = (whole / "final/README.md").read_text(), json.loads((whole / "final/training.json").read_text())
    setting = json.loads((whole / "setting.json").read_text())
    assert setting["made_of"]["data"] in card and "| hyper.learning_rate | 0.01 |" in card
    assert setting.pop("kind") == "train"
    assert said == setting | {"result": {"steps": 6, "loss": losses_of(whole)[-1]}}
    rows = metrics_of(whole)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6] and all(row["tokens_per_second"] > 0 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not list((whole / "final").rglob("*.bin")), "pickles have no place in a finished model"


def test_the_type_of_the_products_is_no_clocks_choice_and_a_faster_one_is_one_line(place, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_product_seconds", lambda where, dtype: {torch.float32: 50.0}.get(dtype, 1.0))
    said = []
    fine_tune(job(place), tmp_path / "fast", WATCH, said.append)
    hints = [line for line in said if "--dtype" in line]
    assert len(hints) == 1 and hints[0].endswith("--dtype bfloat16, which trains other weights")
    assert losses_of(tmp_path / "fast") == losses_of(whole)
    said.clear()
    fine_tune(job(place, dtype="bfloat16"), tmp_path / "short", WATCH, said.append)
    assert not [line for line in said if "--dtype" in line]
    assert losses_of(tmp_path / "short") != losses_of(whole)
    with pytest.raises(InputError, match=r"unknown dtype 'float8'; did you mean 'float32'. known: auto, float32"):
        job(place, dtype="float8")


class Killed(BaseException):
    """Ends a training at once, as a kill does."""


@pytest.fixture
def killed_at(monkeypatch):
    """`killed_at(n)`: the n-th loss from now on is not survived; None: all are."""
    seen = []

    def arm(number):
        seen.clear()

        def recorded(*args):
            if len(seen) == number:
                raise Killed
            seen.append(1)
            return masked_loss(*args)

        monkeypatch.setattr(training, "masked_loss", recorded)

    return arm


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"optimizer": "muon"}, {"checkpointing": True}], ids=str)
def test_a_killed_run_goes_on_to_the_same_losses_and_weights(place, tmp_path, killed_at, changes):
    fine_tune(job(place, **changes), tmp_path / "whole", WATCH, quiet)
    killed_at(5)
    with pytest.raises(Killed):
        fine_tune(job(place, **changes), tmp_path / "killed", WATCH, quiet)
    assert len(losses_of(tmp_path / "killed")) == 5
    killed_at(None)
    said = []
    fine_tune(job(place, **changes), tmp_path / "killed", WATCH, said.append)
    assert "going on from step 3 of 6" in said
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    name = "adapter_model.safetensors" if "lora" in changes else "model.safetensors"
    one, other = (tmp_path / run / "final" / name for run in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


def test_a_loss_over_steps_before_and_after_a_kill_is_that_of_a_run_that_was_not(place, tmp_path, killed_at):
    """A line of metrics.jsonl is the mean since the line before, wherever checkpoints were saved."""
    watch, halves = Watch(log_every=4, save_every=3), job(place, rows=4, steps=8)
    fine_tune(halves, tmp_path / "whole", watch, quiet)
    killed_at(14)
    with pytest.raises(Killed):
        fine_tune(halves, tmp_path / "killed", watch, quiet)
    assert newest_checkpoint(tmp_path / "killed") == str(tmp_path / "killed/checkpoint-6")
    shutil.copytree(tmp_path / "killed", tmp_path / "twice")
    # Of the checkpoints the newest has the loss of steps 5 and 6, and the one before that of 1 to 3.
    shutil.rmtree(tmp_path / "twice/checkpoint-6")
    killed_at(None)
    for run in ("killed", "twice"):
        fine_tune(halves, tmp_path / run, watch, quiet)
        assert losses_of(tmp_path / run) == losses_of(tmp_path / "whole")
        one, other = (json.loads((tmp_path / name / "final/training.json").read_text()) for name in (run, "whole"))
        assert one["result"] == other["result"]


def test_a_run_killed_by_the_system_gives_the_losses_of_one_that_was_not(place, tmp_path, whole):
    """kill -9 in the middle, of the command itself."""
    arguments = [
        "train", "--model", place / "model", "--data", place / "samples.parquet", "--out", tmp_path / "run",
        "--batch-size", 8, "--rows", 8, "--learning-rate", 1e-2, "--log-every", 1, "--save-every", 3, "--steps", 6,
    ]  # fmt: skip
    command = [sys.executable, "-m", "nap", *map(str, arguments)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run/checkpoint-3/trainer_state.json").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not (tmp_path / "run/final").exists()
    again = nap(*arguments)
    assert again.returncode == 0, again.stderr
    assert not again.stdout and "the model is in" in again.stderr
    assert losses_of(tmp_path / "run") == losses_of(whole)


def test_a_run_that_an_earlier_version_began_goes_on_as_that_dealt_the_samples(place, tmp_path, whole, killed_at):
    """It wrote nothing of how; a run of its own with that setting gives the same losses, killed or not."""
    earlier = json.loads((whole / "setting.json").read_text())
    del earlier["dealt"], earlier["chat_template_kwargs"], earlier["objective"]["objective"]
    del earlier["objective"]["corrupt"]
    earlier["hyper"]["dtype"] = "auto"
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "setting.json").write_text(json.dumps(earlier))
        (tmp_path / name / "metrics.jsonl").touch()
    told = []
    final = fine_tune(job(place), tmp_path / "whole", WATCH, told.append)
    assert [line for line in told if "an earlier version began this run" in line]
    assert "| epochs |" not in (final / "README.md").read_text()
    assert losses_of(tmp_path / "whole") != losses_of(whole)
    killed_at(5)
    with pytest.raises(Killed):
        fine_tune(job(place), tmp_path / "killed", WATCH, quiet)
    killed_at(None)
    fine_tune(job(place), tmp_path / "killed", WATCH, quiet)
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")


def test_a_run_goes_on_in_the_number_type_that_auto_came_to_where_it_was_begun(place, tmp_path, whole, monkeypatch):
    assert json.loads((whole / "setting.json").read_text())["hyper"]["dtype"] == "float32"
    assert fine_tune(job(place, dtype="float32"), whole, WATCH, quiet) == whole / "final"
    monkeypatch.setattr(machine, "choose_dtype", lambda *asked: torch.bfloat16)
    with pytest.raises(InputError, match=r"hyper.dtype 'float32', now 'bfloat16'"):
        fine_tune(job(place), whole, WATCH, quiet)


def test_a_run_goes_on_with_the_keywords_of_its_chat_template_and_no_others(place, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    said = "{{ messages[0]['content'] }}{% if enable_thinking is defined %} ?{% endif %}"
    change_json(model / "tokenizer_config.json", chat_template=said)
    plain = replace(job(place, steps=1), model=str(model))
    thinks, forgets = (replace(plain, words=(("enable_thinking", value),)) for value in (False, None))
    for begun, others in ((plain, (thinks, forgets)), (thinks, (plain, forgets))):
        run = tmp_path / f"run-{len(begun.words)}"
        final = fine_tune(begun, run, WATCH, quiet)
        for other in others:
            with pytest.raises(InputError, match=r"another setting \(chat_template_kwargs.enable_thinking"):
                fine_tune(other, run, WATCH, quiet)
        assert fine_tune(begun, run, WATCH, quiet) == final


def test_a_finished_run_is_left_as_it_is(place, whole):
    before = (whole / "final/model.safetensors").stat().st_mtime_ns
    said = []
    assert fine_tune(job(place), whole, WATCH, said.append) == whole / "final"
    assert (whole / "final/model.safetensors").stat().st_mtime_ns == before and "finished already" in said[-1]


def test_a_resume_with_another_setting_is_refused_with_the_keys_that_differ(place, whole):
    with pytest.raises(
        InputError, match=r"another setting \(hyper.learning_rate 0.01, now 0.02, hyper.seed 0, now 1\)"
    ):
        fine_tune(job(place, learning_rate=2e-2, seed=1), whole, WATCH, quiet)
    with pytest.raises(InputError, match=r"canvas.attention 'full', now 'paths'"):
        fine_tune(job(place, spec=replace(SPEC, attention="paths")), whole, WATCH, quiet)
    kept = (place / "samples.parquet").read_bytes()
    write_samples((Arith().sample(1, index) for index in range(40)), place / "samples.parquet")
    try:
        with pytest.raises(InputError, match=r"made_of.data '\w+', now '\w+'"):
            fine_tune(job(place), whole, WATCH, quiet)
    finally:
        (place / "samples.parquet").write_bytes(kept)


def test_a_disk_that_fills_during_a_save_leaves_the_last_good_checkpoint(place, tmp_path, whole, killed_at):
    run = tmp_path / "run"
    killed_at(4)
    with pytest.raises(Killed):
        fine_tune(job(place), run, WATCH, quiet)
    good = newest_checkpoint(run)
    assert good == str(run / "checkpoint-3")
    killed_at(None)
    # Enough for the lines of metrics.jsonl, and for no weights.
    with (
        disk_full_after(4096),
        pytest.raises(InputError, match=r"cannot save .*last whole checkpoint is .*checkpoint-3"),
    ):
        fine_tune(job(place), run, WATCH, quiet)
    assert newest_checkpoint(run) == good and not (run / "checkpoint-6").exists() and not (run / "final").exists()
    fine_tune(job(place), run, WATCH, quiet)
    assert losses_of(run) == losses_of(whole)


def test_a_disk_that_fills_at_the_end_leaves_the_last_checkpoint_to_finish_from(place, tmp_path, whole, monkeypatch):
    run, write = tmp_path / "run", final.write_model

    def written_on_a_full_disk(*arguments):
        with disk_full_after(4096):
            write(*arguments)

    monkeypatch.setattr(final, "write_model", written_on_a_full_disk)
    with pytest.raises(InputError, match=r"cannot save .*run/final .*last whole checkpoint is .*checkpoint-6"):
        fine_tune(job(place), run, WATCH, quiet)
    assert not (run / "final").exists() and not (run / ".final.partial").exists()
    monkeypatch.undo()
    fine_tune(job(place), run, WATCH, quiet)
    assert (run / "final/model.safetensors").read_bytes() == (whole / "final/model.safetensors").read_bytes()


def test_a_folder_that_is_not_its_own_is_refused_and_nothing_in_it_is_touched(place, tmp_path):
    (tmp_path / "run/final").mkdir(parents=True)
    (tmp_path / "run/final/model.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"run is not empty and holds no run: .* but final"):
        fine_tune(job(place), tmp_path / "run", WATCH, quiet)
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["final", "model.safetensors"]


def test_what_is_put_in_the_models_place_is_kept_and_what_is_put_into_its_making_is_not(
    place, tmp_path, whole, killed_at
):
    run = tmp_path / "run"
    killed_at(4)
    with pytest.raises(Killed):
        fine_tune(job(place), run, WATCH, quiet)
    killed_at(None)
    (run / "final").mkdir()
    (run / "final/thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"run/final is in the model's place .*move it away"):
        fine_tune(job(place), run, WATCH, quiet)
    assert (run / "final/thesis.tex").read_text() == "mine"
    (run / "final").rename(run / "kept")
    (run / ".final.partial").mkdir()
    (run / ".final.partial/junk.safetensors").write_bytes(b"junk")
    fine_tune(job(place), run, WATCH, quiet)
    names = [sorted(path.name for path in (folder / "final").iterdir()) for folder in (run, whole)]
    assert names[0] == names[1] and (run / "kept/thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("optimizer.pt", None, "optimizer.pt is missing"),
        ("scheduler.pt", None, "scheduler.pt is missing"),
        ("rng_state.pth", 100, "rng_state.pth has 100 bytes of"),
        ("model.safetensors", 0, "model.safetensors has 0 bytes of"),
        ("manifest.json", None, "its save was cut short"),
        ("manifest.json", 100, "manifest.json is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_never_gone_on_from_and_the_model_is_the_same(place, tmp_path, whole, name, size, said):
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(run / "final")
    path, told = run / "checkpoint-6" / name, []
    path.unlink() if size is None else path.write_bytes(bytes(size))
    fine_tune(job(place), run, WATCH, told.append)
    assert any(f"checkpoint-6 is not whole ({said}" in line for line in told) and "going on from step 3 of 6" in told
    assert (run / "final/model.safetensors").read_bytes() == (whole / "final/model.safetensors").read_bytes()
    assert losses_of(run) == losses_of(whole) and newest_checkpoint(run) == str(run / "checkpoint-6")


def test_where_no_checkpoint_is_whole_it_begins_anew_and_ends_the_same(place, tmp_path, whole):
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(run / "final")
    for steps in (3, 6):
        (run / f"checkpoint-{steps}/optimizer.pt").unlink()
    fine_tune(job(place), run, WATCH, quiet)
    assert (run / "final/model.safetensors").read_bytes() == (whole / "final/model.safetensors").read_bytes()


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"step": "4"}', "\udcff", "[" * 100_000])
def test_lines_of_metrics_that_cannot_be_read_are_left_out(place, tmp_path, whole, line):
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(run / "final")
    metrics = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(line.encode(errors="surrogateescape") + b"\n" + metrics)
    fine_tune(job(place), run, WATCH, quiet)
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_a_step_in_passes_is_the_same_step(place, tmp_path, whole):
    fine_tune(job(place, rows=2), tmp_path / "run", WATCH, quiet)
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(whole), rel=1e-4)


# Starting points


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory):
    """LLaDA's shape and Dream's, an autoregressive Llama without a mask, and samples that all of them can write."""
    folder = tmp_path_factory.mktemp("shapes")
    LLADA.tiny(folder / "llada")
    sys.path.insert(0, str(BUNDLED.ROOT / "recipes"))
    recipe("dream_7b").tiny(folder / "dream")
    tokenizer = LLADA.tiny_tokenizer("<mask>")
    tokenizer.mask_token = None
    autoregressive(folder / "ar")
    LLADA.dry_samples(folder / "samples.parquet")
    return folder


def autoregressive(folder, **special):
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    said = json.loads(LLADA.tiny_tokenizer("<mask>").backend_tokenizer.to_str())
    said["added_tokens"] = [token for token in said["added_tokens"] if token["content"] != "<mask>"]
    backend = Tokenizer.from_str(json.dumps(said))
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"} | special
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True, eos_token_id=eos, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


WIDE = CanvasSpec(paths=3, path_tokens=40, summary_tokens=24)


@pytest.mark.parametrize(("name", "shift"), [("llada", False), ("dream", True), ("ar", True)])
@pytest.mark.parametrize("lora", [0, 2])
def test_any_family_becomes_a_model_with_tags_of_one_token_each(bytewise, tmp_path, name, shift, lora):
    final = fine_tune(
        job(bytewise, name, WIDE, steps=2, batch_size=4, rows=4, lora=lora), tmp_path / "run", WATCH, quiet
    )
    denoiser = decoded(final)
    assert denoiser.setting["shift_logits"] is shift and denoiser.canvas == WIDE
    tags = [denoiser.tokenizer.encode(tag, add_special_tokens=False) for tag in WIDE.special_tokens]
    assert all(len(ids) == 1 for ids in tags) and len({tuple(ids) for ids in tags}) == 8
    rows = denoiser.model.get_input_embeddings().num_embeddings
    assert rows == len(denoiser.tokenizer) == 256 + 2 + 8
    assert (final / "adapter_model.safetensors").exists() == bool(lora) != (final / "model.safetensors").exists()


def test_an_adapter_decodes_as_what_was_trained_and_not_as_its_base(bytewise, tmp_path):
    seen = {}

    def remember(trainer):
        seen["trained"] = trainer.model

    made = job(bytewise, "llada", WIDE, steps=3, batch_size=4, rows=4, lora=2, learning_rate=0.1)
    with pytest.MonkeyPatch.context() as patch:
        save = training.DiffusionTrainer.save_model
        patch.setattr(
            training.DiffusionTrainer, "save_model",
            lambda self, *args, **options: (remember(self), save(self, *args, **options))[1],
        )  # fmt: skip
        final = fine_tune(made, tmp_path / "run", WATCH, quiet)
    adapted = load(str(final))
    ids_BL = torch.arange(20)[None] + 3
    blank = torch.zeros(1, 1, 20, 20)
    with torch.no_grad():
        trained = seen["trained"](input_ids=ids_BL, attention_mask=blank, use_cache=False).logits
        found = adapted.model(input_ids=ids_BL, attention_mask=blank, use_cache=False).logits
        base = load(str(bytewise / "llada")).model(input_ids=ids_BL, attention_mask=blank, use_cache=False).logits
    torch.testing.assert_close(found, trained, atol=1e-4, rtol=1e-4)
    assert (found[..., :200] - base[..., :200]).abs().max() > 1e-2


def test_an_adapter_whose_base_is_gone_says_so(bytewise, tmp_path):
    base = shutil.copytree(bytewise / "llada", tmp_path / "base")
    made = job(bytewise, "llada", WIDE, steps=1, batch_size=4, rows=4, lora=2)
    final = fine_tune(replace(made, model=str(base)), tmp_path / "run", WATCH, quiet)
    shutil.rmtree(base)
    with pytest.raises(InputError, match="is an adapter, and its base cannot be opened: no model"):
        load(str(final))


def test_a_tokenizer_whose_unknown_token_is_its_padding_too_is_trained_with(bytewise, tmp_path):
    """As GPT-2's is and SmolLM2's; here a chat template begins with it as well."""
    end = "<|endoftext|>"
    autoregressive(tmp_path / "model", unk_token=end, bos_token=end)
    template = "{{ bos_token }}{{ messages[0]['content'] }}"
    change_json(tmp_path / "model/tokenizer_config.json", chat_template=template)
    said, made = [], replace(job(bytewise, spec=WIDE, steps=1, batch_size=4, rows=4), model=str(tmp_path / "model"))
    fine_tune(made, tmp_path / "run", WATCH, said.append)
    assert said[0].startswith("16 of 16 samples")


def test_a_text_that_a_decode_would_cut_at_an_end_is_left_out_by_its_row(bytewise, tmp_path):
    """Every end counts that a decode of the trained model knows; a prompt's turns may hold them."""
    autoregressive(tmp_path / "model", eos_token="<|im_end|>")
    one = next(read_samples(bytewise / "samples.parquet"))
    asked = replace(one, problem=replace(one.problem, prompt="Why?<|im_end|>"))
    path = replace(one, paths=(*one.paths[:-1], Path(text="a<|im_end|>b")))
    write_samples([asked, path, replace(one, summary="5<|im_end|>")], tmp_path / "samples.parquet")
    made = replace(
        job(bytewise, spec=WIDE, steps=1, batch_size=1, rows=1),
        model=str(tmp_path / "model"),
        data=str(tmp_path / "samples.parquet"),
    )
    final = fine_tune(made, tmp_path / "run", WATCH, quiet)
    dropped = [json.loads(line) for line in (tmp_path / "run/dropped.jsonl").read_text().splitlines()]
    said = "holds '<|im_end|>', the model's end of text, where a decode would cut it; take it out first"
    assert [(row["row"], row["reason"]) for row in dropped] == [(2, f"path 3 {said}"), (3, f"the summary {said}")]
    (end,) = load(str(final)).tokenizer.encode("<|im_end|>", add_special_tokens=False)
    assert end in load(str(final)).eos_ids


def test_tags_can_stay_text(bytewise, tmp_path):
    made = replace(job(bytewise, "llada", replace(WIDE, path_tokens=50), steps=1, batch_size=4, rows=4), add_tags=False)
    denoiser = decoded(fine_tune(made, tmp_path / "run", WATCH, quiet))
    assert len(denoiser.tokenizer.encode("<think 1>", add_special_tokens=False)) > 1


# Bad settings


def test_a_name_that_no_readme_takes_is_refused_before_the_training(place, tmp_path):
    odd = tmp_path / "\udcff.parquet"
    shutil.copy(place / "samples.parquet", odd)
    for made, out in ((replace(job(place), data=str(odd)), "run"), (job(place), "\udcff")):
        with pytest.raises(InputError, match=r"the name of the .* is not valid text .*udcff.*; rename it"):
            fine_tune(made, tmp_path / out, WATCH, quiet)
        assert not (tmp_path / out).exists()


def test_a_training_goes_on_over_the_base_it_was_begun_with(place, tmp_path):
    work, run, said = job(tmp_path, steps=1), tmp_path / "run", list[str]()
    shutil.copytree(place / "model", tmp_path / "model")
    shutil.copy(place / "samples.parquet", tmp_path)
    fine_tune(work, run, WATCH, quiet)
    made_of = json.loads((run / "setting.json").read_text())["made_of"]
    change_json(run / "setting.json", made_of={key: made_of[key] for key in made_of if key != "models"})
    fine_tune(work, run, WATCH, said.append)
    assert sum("an earlier version, which did not note what its model is made of" in line for line in said) == 1
    save_tiny(tmp_path / "model", seed=1, spec=SPEC, initializer_range=0.1, max_position_embeddings=160)
    with pytest.raises(InputError, match=r"made_of\.models\..*\.weights '\w+', now '\w+'\); choose another folder"):
        fine_tune(work, run, WATCH, quiet)


def test_an_error_that_is_not_the_disks_is_not_called_so(place, tmp_path, monkeypatch):
    def broken(*arguments):
        raise KeyError("a bug")

    monkeypatch.setattr(final, "model_card", broken)
    with pytest.raises(KeyError, match="a bug"):
        fine_tune(job(place, steps=1), tmp_path / "run", WATCH, quiet)


def test_a_setting_that_was_refused_may_be_mended(place, tmp_path):
    with pytest.raises(InputError, match="unknown task"):
        fine_tune(job(place), tmp_path / "run", replace(WATCH, eval_task="x"), quiet)
    fine_tune(job(place, steps=1), tmp_path / "run", WATCH, quiet)
    with pytest.raises(InputError, match="another setting"):
        fine_tune(job(place, steps=2), tmp_path / "run", WATCH, quiet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known: adamw, muon"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"warmup": 1.0}, "warmup must be 0 or more and below 1"),
        ({"fsdp": True, "lora": 4}, "fsdp shards every matrix"),
    ],
)
def test_a_wrong_setting_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(HYPER, **changes)


def test_a_checkpoint_that_is_trained_in_another_way_is_refused(bytewise, tmp_path):
    folder = shutil.copytree(bytewise / "ar", tmp_path / "blocks")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"block_size": 4}))
    wanted = job(bytewise, "ar", WIDE)
    for told in (replace(wanted, model=str(folder)), replace(wanted, block_size=4)):
        with pytest.raises(
            InputError, match=r"block-causal attention .* is trained by block diffusion, which is not here"
        ):
            fine_tune(told, tmp_path / "run", WATCH, quiet)
    with pytest.raises(InputError, match="block_size must be at least 1, got 0"):
        fine_tune(replace(wanted, block_size=0), tmp_path / "run", WATCH, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["blocks"]
