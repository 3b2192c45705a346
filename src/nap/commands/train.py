"""`nap train`: fine-tune a model on a file of samples.

Does not train (training/).
"""

from dataclasses import dataclass

from tyro.conf import OmitArgPrefixes

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Keywords, Whole, Words, YesNo
from nap.common.files import InputError
from nap.common.text import printable, say
from nap.training.finetune import fine_tune
from nap.training.processes import which_process
from nap.training.settings import Hyper, Job, Objective, Watch


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fine-tune a model on samples, as masked diffusion.

    An autoregressive checkpoint becomes a diffusion model.

    The same command continues a run; torchrun -m nap train uses several GPUs.
    """

    model: str
    """bundled name, folder or hub name"""
    data: str
    """samples, as nap curate writes them (.parquet)"""
    out: str = "runs/train"
    """the run's folder; the trained model will be in its final/"""
    revision: Words = None
    """revision of a hub checkpoint"""
    tags_as_text: bool = False
    """write tags with existing tokens, instead of adding a token for each tag"""
    shift: YesNo = None
    """whether logits predict the next position (default: as the model says; autoregressive ones do)"""
    block_size: Whole = None
    """of a model with block-causal attention, which is refused here, where its checkpoint does not say so itself"""
    chat_template_kwargs: Keywords = ()
    """settings of the chat template: enable_thinking=False, or one JSON object; the trained model keeps them"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    objective: OmitArgPrefixes[Objective] = Objective()
    hyper: OmitArgPrefixes[Hyper] = Hyper()
    watch: OmitArgPrefixes[Watch] = Watch()

    def run(self) -> None:
        """Train, and print where the model is."""
        quiet = which_process().rank != 0
        with progress.bar("steps", f"reading {printable(self.data)}") as bar:
            # In a pipe the lines with the loss are enough.
            show = bar.show if bar.is_drawn and not quiet else lambda done, total: None
            fine_tune(self.job(), self.out, self.watch, (lambda line: None) if quiet else say, show)

    def job(self) -> Job:
        """The training job. Raises InputError where no canvas is given and the checkpoint has none."""
        from nap.decoding.prompting import parse_keywords
        from nap.models import checkpoint

        spec = self.canvas.spec() or checkpoint.read_canvas(checkpoint.find(self.model, self.revision)[0])
        if spec is None:
            raise InputError(
                f"{self.model} has no canvas of its own (canvas.json); give --canvas nap or --canvas longcot"
            )
        return Job(
            model=self.model, data=self.data, revision=self.revision, shift=self.shift, add_tags=not self.tags_as_text,
            block_size=self.block_size, words=parse_keywords(self.chat_template_kwargs),
            spec=spec.under(self.canvas.attention), objective=self.objective, hyper=self.hyper,
        )  # fmt: skip
