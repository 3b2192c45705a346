"""Flags that several commands share, as frozen dataclasses. Nothing heavy is imported before a command runs."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from nap.common.files import InputError
from nap.models.int8 import Int8

if TYPE_CHECKING:
    from nap.canvas.canvas import CanvasSpec
    from nap.decoding.budget import Sampling
    from nap.decoding.prompting import Prompting

# Types of optional flags; otherwise tyro would show {None}|INT and (default: None).
Whole = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
Words = Annotated[str | None, arg(metavar="STR", help_behavior_hint="")]
YesNo = Annotated[bool | None, arg(metavar="{True,False}", help_behavior_hint="")]
Keywords = Annotated[tuple[str, ...], arg(metavar="NAME=VALUE...", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a checkpoint is opened."""

    device: str = "cpu"
    """cpu, cuda, cuda:1 or mps"""
    dtype: str = "auto"
    """auto (float32 on a CPU, elsewhere the checkpoint's own), float32, bfloat16 or float16"""
    revision: Words = None
    """revision of a hub checkpoint"""
    mask_id: Whole = None
    """id of the mask token, where the checkpoint does not say or is wrong"""
    shift: YesNo = None
    """whether logits predict the next position (default: as the checkpoint or its family says)"""
    block_size: Whole = None
    """block length of block-causal attention (default: as the checkpoint or its family says)"""
    int8: Annotated[Int8 | None, arg(metavar="{weights,products}", help_behavior_hint="")] = None
    """weights of linear layers as 8-bit integers, or products in 8 bits too; needs torchao (docs/speed.md)"""
    compile: bool = False
    """compile the layers for each shape that they meet: seconds each, worth it in a long run; needs a C++ compiler"""
    trust_remote_code: bool = False
    """run the checkpoint's own code; needs a pinned --revision"""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Column names of a file of problems, and what happens to rows that cannot be checked."""

    prompt_field: Words = None
    """the field of its rows with the question (default: the usual names)"""
    answer_field: Words = None
    """the field of its rows with the right answer (default: the usual names)"""
    strict: bool = False
    """refuse a file with a row that has no checkable answer, instead of leaving the row out"""


@dataclass(frozen=True, kw_only=True)
class CanvasFlags:
    """The canvas; by default the one that the checkpoint was trained on."""

    canvas: Literal["own", "plain", "longcot", "nap"] = "own"
    """own (canvas.json of the checkpoint), plain (no tags), longcot (one path), nap (several)"""
    paths: Whole = None
    """paths of a nap canvas (default: 3)"""
    path_tokens: Whole = None
    """tokens of each path slot (default: 330; with `nap serve --canvas plain` 256, or what the model has room for)"""
    summary_tokens: Whole = None
    """tokens of the summary slot (default: 32)"""
    tags: Annotated[Literal["think", "hash"] | None, arg(metavar="{think,hash}", help_behavior_hint="")] = None
    """<think 1> or <think #1> (default: think)"""
    after_end: Annotated[Literal["cut", "keep"] | None, arg(metavar="{cut,keep}", help_behavior_hint="")] = None
    """text after a slot's first end of text: cut, as in Dream's evaluation, or keep, as in LLaDA's (default: cut)"""

    attention: Annotated[Literal["full", "paths"] | None, arg(metavar="{full,paths}", help_behavior_hint="")] = None
    """full (every position sees all) or paths (a path sees the prompt and itself) (default: the canvas's, else full)"""

    positions: Annotated[
        Literal["canvas", "parallel"] | None, arg(metavar="{canvas,parallel}", help_behavior_hint="")
    ] = None
    """numbering: canvas (by place) or parallel (every path starts right after the prompt) (default: canvas)"""

    def spec(self) -> "CanvasSpec | None":
        """None for the checkpoint's own canvas. Raises InputError for a flag that would change nothing."""
        from nap.canvas.canvas import PRESETS, CanvasSpec

        told = {name: value for name, value in asdict(self).items() if name != "canvas" and value is not None}
        given = {name: value for name, value in told.items() if name != "attention"}
        fixed = PRESETS.get(self.canvas, given)
        if unused := [name for name in given if name in fixed]:
            flag = unused[0].replace("_", "-")
            raise InputError(f"--{flag} changes nothing with --canvas {self.canvas}; choose --canvas nap, or drop it")
        return CanvasSpec(**told, **fixed) if self.canvas in PRESETS else None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How tokens are drawn."""

    temperature: float = 0.0
    """temperature of the draw; 0: always the likeliest token"""
    top_p: float = 1.0
    """draw from the likeliest tokens that together have this probability"""
    top_k: int = 0
    """draw from this many of the likeliest tokens; 0: from all"""
    guidance: float = 0.0
    """classifier-free guidance, away from the model's word without the prompt; doubles the query tokens; 0: none"""
    eos: Literal["count", "suppress", "defer", "stop"] = "count"
    """how end of text is treated: as any token, never predicted, committed last, or as the end of its slot"""
    seed: int = 0
    """seed of all random draws; the same seed gives the same draws"""

    def sampling(self) -> "Sampling":
        """The sampling part."""
        from nap.decoding.budget import Sampling

        return Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, guidance=self.guidance)


@dataclass(frozen=True, kw_only=True)
class PromptFlags:
    """How a question becomes a prompt."""

    raw: bool = False
    """use the prompt as it is, without the checkpoint's chat template"""
    system: Words = None
    """a system prompt"""
    prompt_template: Words = None
    """template of the question: a text with {problem} and \\n for a new line, a bundled one (boxed), or a file"""
    examples: Words = None
    """worked examples before the question: gsm8k-cot, math-minerva, or a file of questions and worked answers"""
    shots: Whole = None
    """how many of the worked examples to use, from the first (default: all)"""
    examples_as: Annotated[Literal["turns", "text"] | None, arg(metavar="{turns,text}", help_behavior_hint="")] = None
    """examples in a chat template: as turns of user and assistant, or as one text (default: turns)"""
    chat_template_kwargs: Keywords = ()
    """settings of the chat template: enable_thinking=False, or one JSON object"""

    def prompting(self) -> "Prompting":
        """The settings of a prompt. Raises InputError for a setting that changes nothing."""
        from nap.decoding.prompting import Prompting, parse_keywords

        return Prompting(
            raw=self.raw, system=self.system, template=self.prompt_template, examples=self.examples, shots=self.shots,
            examples_as=self.examples_as, keywords=parse_keywords(self.chat_template_kwargs),
        )  # fmt: skip


def check_rows_file(path: str | None, what: str = "traces") -> None:
    """Refuse a file name without a known suffix before anything is decoded or read."""
    if path is not None and not path.endswith((".jsonl", ".parquet")):
        raise InputError(f"{what} are written as .jsonl or .parquet, got {path!r}")
