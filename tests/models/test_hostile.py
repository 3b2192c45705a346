"""Checkpoints that somebody damaged or made to do harm: each is one line, found before anything large is made."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from nap.common.files import InputError
from nap.decoding import template
from nap.decoding.prompt import encode_prompt, prompt_ids
from nap.decoding.prompting import Prompting
from nap.decoding.template import as_turns
from nap.models import checkpoint
from nap.models.families import FAMILIES, UNSUPPORTED, family_of, template_keywords, unwrapped
from nap.models.load import load
from tiny import nap, save_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "m")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# config.json


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"num_hidden_layers": 10**6}, "num_hidden_layers must be a whole number from 1 to 2000, got 1000000"),
    ({"num_hidden_layers": 1000}, "num_hidden_layers 1000, and the files have .* tensors in all"),
    ({"vocab_size": "x"}, "vocab_size must be a whole number from 1 to 10000000, got 'x'"),
    ({"vocab_size": True}, "vocab_size must be a whole number"),
    ({"vocab_size": 10**12}, "vocab_size must be a whole number"),
    ({"hidden_size": 17, "head_dim": None}, "hidden_size 17 is not a multiple of num_attention_heads 2"),
    ({"num_key_value_heads": 3}, "num_attention_heads 2 is not a multiple of 3 key-value heads"),
    ({"hidden_size": 0}, "hidden_size must be a whole number from 1"),
    ({"intermediate_size": 1.5}, "intermediate_size must be a whole number"),
    ({"chat_template_kwargs": [1]}, "chat_template_kwargs must be an object"),
    ({"rope_parameters": "x"}, "rope_parameters must be an object, got 'x'"),
    ({"rope_parameters": {"rope_theta": 0, "rope_type": "default"}}, "rope_theta must be a number above 1"),
    ({"rope_parameters": {"rope_theta": 1e4, "rope_type": 3}}, "rope_type must be a text, got 3"),
    ({"rope_parameters": None, "rope_theta": 0}, "rope_theta must be a number above 1 and below 1e.15, got 0"),
    ({"rope_parameters": None, "rope_theta": float("nan")}, "rope_theta must be a number above 1"),
    ({"rope_parameters": None, "rope_theta": [1]}, "rope_theta must be a number above 1"),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 1e300}}, "factor must be a number above 0"),
    ({"rope_scaling": {"rope_type": "linear", "factor": "x"}}, "factor must be a number above 0 and below 10000"),
    ({"rope_scaling": {"rope_type": "llama3", "low_freq_factor": -1}}, "low_freq_factor must be a number above 0"),
    ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, "x"]}}, "factor must be a number above 0"),
    ({"rope_scaling": {"rope_type": "longrope", "long_factor": 5}}, "factor must be a number above 0 .* got 'no list'"),
    ({"rope_parameters": {"partial_rotary_factor": 2}}, "partial_rotary_factor must be a number above 0 and below 1"),
    ({"rms_norm_eps": 0}, "rms_norm_eps must be a number above 0"),
    ({"block_size": 0}, "block_size must be a whole number from 1"),
    ({"shift_logits": "no"}, "shift_logits must be true or false, got 'no'"),
    ({"architectures": 5}, "architectures must be a list, got 5"),
    ({"architectures": [5]}, "architectures must be a list of names"),
    ({"model_type": ["llama"]}, "model_type must be a text"),
    ({"pad_token_id": [1]}, "pad_token_id must be a whole number"),
    ({"mask_token_id": "5"}, "mask_token_id must be a whole number"),
    ({"eos_token_id": [1, "x"]}, "eos_token_id must be a token id or a list of them"),
    ({"eos_token_id": {"a": 1}}, "eos_token_id must be a token id"),
    ({"quantization_config": {"quant_method": "gptq"}}, "its weights are quantised"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), CONFIGS, ids=[str(changes) for changes, _ in CONFIGS])
def test_a_value_that_no_model_can_have_is_named_before_anything_is_built(folder, changes, said) -> None:
    edit(folder / "config.json", **changes)
    started = time.monotonic()
    with pytest.raises(InputError, match=said) as refused:
        load(str(folder))
    assert "\n" not in str(refused.value) and time.monotonic() - started < 5


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 50_000, '{"vocab_size": ' + "9" * 5000 + "}", "", "\0"])
def test_json_that_cannot_be_read_is_one_line(folder: Path, text: str) -> None:
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match=r"index.json is (not JSON that can be read|no text)"):
        load(str(folder))
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config.json is (not JSON that can be read|no text)"):
        load(str(folder))


def test_a_config_of_a_huge_size_is_not_read(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_JSON", 10)
    with pytest.raises(InputError, match="10 is the most that is read"):
        load(str(folder))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "lladamoe", "architectures": ["LLaDAMoEModel"]}, "LLaDA-MoE is not supported"),
        ({"model_type": "llada", "architectures": ["LLaDAMoEModelLM"]}, "LLaDA-MoE is not supported"),
        ({"model_type": "llada_moe"}, "LLaDA-MoE is not supported"),
        ({"model_type": "Fast_dLLM_Qwen"}, "Fast-dLLM v2 is not supported"),
        ({"model_type": "a2d-qwen2", "architectures": ["Fast_dLLM_QwenForCausalLM"]}, "Fast-dLLM v2 is not supported"),
        ({"model_type": "llada2_moe"}, "LLaDA2 is not supported"),
        ({"model_type": "sdar_moe"}, "SDAR-MoE is not supported"),
        ({"model_type": "qwen2", "architectures": ["DreamModel"]}, "of 'Dream' and decoded otherwise; set model_type"),
        ({"model_type": "qwen3", "architectures": ["SDARForCausalLM"]}, "of 'sdar' and decoded otherwise"),
        ({"model_type": "llama", "architectures": ["LLaDAModelLM"]}, "of 'llada' and decoded otherwise"),
        ({"model_type": "qwen3", "architectures": ["A2DQwen3LMHeadModel"]}, "of 'a2d-qwen3' and decoded otherwise"),
    ],
)
def test_a_family_that_is_not_supported_is_named_whatever_it_calls_itself(config: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        family_of(config, "m")
    assert all(name == name.lower() and name.isalnum() for name in UNSUPPORTED)


@pytest.mark.parametrize("architecture", ["Qwen2ForCausalLM", "Qwen2Model", "MyOwnModel"])
def test_a_model_of_a_native_class_may_have_any_architecture_of_its_own(architecture: str) -> None:
    assert family_of({"model_type": "qwen2", "architectures": [architecture]}, "m") is FAMILIES["qwen2"]
    assert family_of({"model_type": "Dream", "architectures": ["DreamModel"]}, "m") is FAMILIES["Dream"]


# Weights


def test_two_sets_of_weights_in_one_folder_are_refused(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    save_file(whole, folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(whole, "model-1.safetensors")}))
    with pytest.raises(InputError, match="holds two sets of weights"):
        load(str(folder))
    index.write_text(json.dumps({"weight_map": dict.fromkeys(whole, "model.safetensors")}))
    load(str(folder))


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file)

    return spoil


def with_values(value: float) -> Callable[[Path], None]:
    def change(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found["model.norm.weight"][3] = value
        return found

    return tensors(change)


def shards(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))

    return spoil


NORM = "model.norm.weight"
WEIGHTS: list[tuple[Callable[[Path], None], str]] = [
    (with_values(float("nan")), "model.norm.weight holds values that are no numbers"),
    (with_values(float("-inf")), "model.norm.weight holds values that are no numbers"),
    (tensors(lambda t: t | {NORM: t[NORM].to(torch.int8)}), "model.norm.weight is torch.int8; quantised"),
    (tensors(lambda t: t | {NORM: t[NORM].to(torch.float8_e4m3fn)}), "is torch.float8_e4m3fn; quantised"),
    (tensors(lambda t: t | {f"module.{NORM}": t[NORM].clone()}), "is a second tensor for model.norm.weight"),
    (shards("/etc/passwd"), "names '/etc/passwd', which is no .* file of its own folder"),
    (shards("../other/model.safetensors"), r"names '\.\./other/model.safetensors', which is no"),
    (shards("weights.bin"), "names 'weights.bin', which is no"),
    (shards("sub/model.safetensors"), "names 'sub/model.safetensors', which is no"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), WEIGHTS, ids=[said[:40] for _, said in WEIGHTS])
def test_weights_that_are_no_numbers_or_lie_elsewhere_are_refused_by_name(folder, spoil, said) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=said):
        load(str(folder))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_wrappers_put_before_a_tensors_name_is_no_part_of_it(folder: Path, prefix: str) -> None:
    before = load(str(folder)).model.state_dict()
    tensors(lambda found: {prefix + name: value for name, value in found.items()})(folder)
    after = load(str(folder)).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_wrapper_inside_a_name_is_taken_out_and_a_module_of_that_name_stays() -> None:
    assert (
        unwrapped("model.layers.0._orig_mod.mlp._checkpoint_wrapped_module.up.weight") == "model.layers.0.mlp.up.weight"
    )
    assert unwrapped("model.module.weight") == "model.module.weight"


def test_embeddings_of_bert_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"pad_token_id": 0, "mask_token_id": 5, "eos_token_id": 1}
    shape |= {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(vocab_size=20, max_position_embeddings=32, **shape)).save_pretrained(tmp_path)
    load(str(tmp_path))
    tensors(lambda found: {name: value for name, value in found.items() if "position_embeddings" not in name})(tmp_path)
    with pytest.raises(InputError, match=r"missing bert.embeddings.position_embeddings.weight"):
        load(str(tmp_path))


# Tokenizers and templates


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer_config.json", "[" * 100_000),
        ("tokenizer_config.json", '{"added_tokens_decoder": 5}'),
        ("tokenizer_config.json", '{"unk_token": ""}'),
        ("tokenizer_config.json", '{"model_max_length": ' + "9" * 5000 + "}"),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_one_line(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError) as refused:
        load(str(folder))
    assert "\n" not in str(refused.value)


def _pattern(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _doubling(times: int) -> dict[str, Any]:
    return {
        "type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * times,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pre_tokenizer": _pattern("(a|a){18}[xyz]")}, r"takes .* s for \d+ characters \('aaaa.* does not end in"),
        ({"normalizer": _pattern("(7|7){18}[xyz]") | {"type": "Replace", "content": ""}}, "takes .* s for .*'7777"),
        ({"normalizer": _doubling(60)}, r"its normalizer makes a text 1\.15e\+18 times as long; 1000 is the most"),
        ({"normalizer": {"type": "Sequence", "normalizers": [_doubling(6)] * 3}}, "makes a text 2.62e.05 times"),
        ({"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}}, r"makes a text 1e\+06 times"),
        ({"decoder": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10**5}}, "its decoder makes"),
    ],
)
def test_a_tokenizer_that_takes_long_or_makes_a_text_endless_is_refused(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    edit(folder / "tokenizer.json", **changes)
    with pytest.raises(InputError, match=said):
        load(str(folder))


def test_steps_that_published_tokenizers_have_make_no_text_long(folder: Path) -> None:
    llama = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    edit(folder / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": llama})
    load(str(folder))


class Panic(BaseException):
    """As the tokenizers library's: no Exception."""


def test_what_the_tokenizers_library_prints_by_itself_is_clean_and_never_on_standard_output(folder: Path) -> None:
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text())
    said["added_tokens"][0]["\x1b[2J\x1b]0;owned\x07"] = True
    path.write_text(json.dumps(said))
    done = nap("decode", "--model", folder, "--prompt", "Ann", "--json")
    assert not done.stdout or json.loads(done.stdout)
    assert "\x1b" not in done.stdout + done.stderr and r"\x1b[2J" in done.stderr


def test_a_panic_is_one_line_and_an_interruption_is_none() -> None:
    with pytest.raises(InputError, match=r"reading fails .*Panic: no entry"), checkpoint.foreign("reading fails"):
        raise Panic("no entry\nat line 5")
    with pytest.raises(KeyboardInterrupt), checkpoint.foreign("reading fails"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ raise_exception('First message must be a system message') }}", "First message must be a system message"),
        ("{{ raise_exception('\x1b[31mred\nand more') }}", r"\\x1b\[31mred"),
        ("{{ bos_token + messages[0]['content'] }}", "UndefinedError"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "takes more than"),
        ("{{ 9 ** (9 ** 9) }}", "takes more than"),
        ("{% set n = 9 ** 9 %}{{ messages | length ** 9 + 9 ** n }}", "takes more than"),
        ("{{ 'x' * 9999999999 }}", "MemoryError"),
        ("{{ messages[0]['content'].center(99999999999) }}", "MemoryError"),
        ("{{ '%9999999999d' % 5 }}", "(Memory|Overflow|Value)Error"),
        (
            "{% set a = namespace(s='x' * 999) %}{% for i in range(99) %}{% set a.s = a.s + a.s %}{% endfor %}",
            "(MemoryError|takes more than)",
        ),
    ],
)
def test_a_template_that_fails_is_one_line_that_names_raw(folder: Path, monkeypatch, text: str, said: str) -> None:
    monkeypatch.setattr(template, "PATIENCE", 0.5)
    tokenizer = checkpoint.open_tokenizer(str(folder))
    tokenizer.chat_template, tokenizer.bos_token = text, None
    with pytest.raises(
        InputError, match=rf"chat template .* fails; give the prompt as it is with --raw .*{said}"
    ) as refused:
        encode_prompt("Ann", tokenizer)
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
    assert encode_prompt("Ann", tokenizer, Prompting(raw=True)) == encode_prompt(
        "Ann", checkpoint.open_tokenizer(str(folder)), Prompting(raw=True)
    )


def test_a_template_that_fails_ends_the_command_with_one_line(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    done = nap("decode", "--model", folder, "--prompt", "Ann")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and "--raw" in done.stderr
    assert nap("decode", "--model", folder, "--prompt", "Ann", "--raw").returncode == 0


def test_a2d_qwen3_is_asked_without_thinking_as_it_was_trained(folder: Path) -> None:
    denoiser = load(str(folder))
    denoiser.tokenizer.chat_template = (
        "{{ messages[-1].content + (' Bob' if enable_thinking is defined and not enable_thinking else ' Ann') }}"
    )
    ann, bob = (encode_prompt(text, denoiser.tokenizer, Prompting(raw=True)) for text in ("has Ann", "has Bob"))
    assert prompt_ids(denoiser, "has") == ann
    denoiser.setting["chat_template_kwargs"] = template_keywords({}, FAMILIES["a2d-qwen3"])
    assert prompt_ids(denoiser, "has") == bob
    assert prompt_ids(denoiser, "has", Prompting(keywords=(("enable_thinking", True),))) == ann


PARTS = (
    "{% for m in messages %}{{ m.role }} {% if m.content is not string %}{% for c in m.content %}{{ c['text'] }}"
    "{% endfor %}{% endif %} . {% endfor %}"
)


def test_a_template_that_reads_parts_gets_them_and_one_that_leaves_the_question_out_is_refused(folder: Path) -> None:
    denoiser = load(str(folder))
    denoiser.tokenizer.chat_template = PARTS
    said = as_turns([("user", "Ann has 5")], denoiser.tokenizer, {})
    assert said == "user Ann has 5 . "
    for said in ("Ann", "{% for m in messages %}{% if m.role == 'human' %}{{ m.content }}{% endif %}{% endfor %}"):
        denoiser.tokenizer.chat_template = said
        with pytest.raises(InputError, match="leaves out what the user says; give the prompt as it is with --raw"):
            prompt_ids(denoiser, "Bob has 5")


# Remote code


def with_code(folder: Path) -> Path:
    """The folder with Python of its own, which every config names and which leaves a mark where it runs."""
    mark = 'import pathlib\npathlib.Path("REMOTE_CODE_RAN").write_text("x")\n'
    (folder / "own.py").write_text(f"{mark}from transformers import *\nclass Own: pass\n")
    names = {name: "own.Own" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM")}
    edit(folder / "config.json", auto_map=names)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}, tokenizer_class="Own")
    return folder


COMMANDS: dict[str, list[str]] = {
    "decode": ["decode", "--model", "{model}", "--prompt", "Ann"],
    "eval": ["eval", "--models", "{model}", "--task", "jsonl", "--data", "problems.jsonl", "--out", "run"],
    "trace import": ["trace", "import", "run.json", "t.jsonl", "--source", "canvases", "--tokenizer", "{model}"],
    "seqdep": ["seqdep", "rows.jsonl", "--scorer", "{model}"],
    "curate": ["curate", "--task", "jsonl", "--solutions", "rows.jsonl", "--paths", "2", "--out", "run",
               "--embedder", "{model}", "--tokenizer", "{model}"],
    "train": ["train", "--data", "samples.parquet", "--model", "{model}", "--out", "run", "--steps", "1"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_runs_a_folders_own_python_or_asks_to(folder: Path, tmp_path: Path, command: list[str]) -> None:
    with_code(folder)
    (tmp_path / "problems.jsonl").write_text('{"prompt": "Ann has 5 pears .", "answer": "5"}\n')
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": "Ann", "answer": "5", "solutions": ["Ann has 5 .", "Bob has 5 ."]}\n'
    )
    (tmp_path / "run.json").write_text("[[3, 3], [5, 3]]")
    done = nap(*(word.format(model=folder) for word in command), cwd=tmp_path, stdin=-3)
    said = done.stdout + done.stderr
    assert "Traceback" not in said and "trust_remote_code" not in said, said
    assert not list(tmp_path.rglob("REMOTE_CODE_RAN")), said


def test_the_mark_of_that_folder_appears_where_its_code_is_trusted(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="its own code does not load"):
        load(str(with_code(folder)), trust_remote_code=True)
    assert (tmp_path / "REMOTE_CODE_RAN").exists()


def test_an_a2d_model_that_says_neither_its_blocks_nor_its_shift_warns_and_names_the_flags(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """BD3LM's checkpoints and MDLM's have the same config; the blocks of the first stand nowhere."""

    def said() -> list[str]:
        found = [one.getMessage() for one in caplog.records if one.name == "nap"]
        caplog.clear()
        return found

    edit(folder / "config.json", model_type="a2d-llama", shift_logits=None)
    load(str(folder))
    (line,) = said()
    assert "--block-size 32" in line and "--shift True" in line
    load(str(folder), block_size=4)
    load(str(folder), shift=False)
    edit(folder / "config.json", block_size=4)
    assert load(str(folder)).setting["block_size"] == 4
    assert not said(), "who has said it is not told again"
