"""A setting of a training that is given changes what comes of it, or is refused."""

from dataclasses import fields, replace

import pytest
from test_finetune import WATCH, job, place, quiet

import nap.training.trainer as training
from nap.canvas.canvas import preset
from nap.common.files import InputError
from nap.training.finetune import fine_tune
from nap.training.settings import Hyper, Objective

__all__ = ["place"]

# Another value for each setting. Of these alone no result depends: they only say how the work is done.
HYPER = {
    "epochs": 1.0, "steps": 3, "batch_size": 8, "rows": 2, "learning_rate": 2e-2, "warmup": 0.5, "weight_decay": 0.5,
    "clip": 1e-3, "optimizer": "muon", "matrix_learning_rate": 0.1, "lora": 2, "dtype": "bfloat16",
    "checkpointing": True, "fsdp": True, "shuffle_paths": True, "seed": 1,
}  # fmt: skip
WORK = {"rows", "checkpointing"}
OBJECTIVE = {
    "weight": "none", "normalise": "batch", "masking": "structured", "times": "path", "power": 0.5, "kappa": 1.0,
    "objective": "edit", "corrupt": 0.5,
}  # fmt: skip


@pytest.fixture
def trained(place, tmp_path, monkeypatch):
    """`trained(hyper, **objective)`: the trainer after its last step, and the bytes of its weights."""
    trainers, save = [], training.DiffusionTrainer.save_model

    def remembered(self, *args, **options):
        trainers.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(training.DiffusionTrainer, "save_model", remembered)

    def run(hyper, **objective):
        usual = {"steps": 2, "batch_size": 4, "rows": 4}
        made = replace(job(place, **usual | hyper), objective=Objective(**objective))
        final = fine_tune(made, tmp_path / str(len([*tmp_path.iterdir()])), WATCH, quiet)
        return trainers[-1], [path.read_bytes() for path in sorted(final.glob("*.safetensors"))]

    return run


def checkpoints(model):
    """Whether it computes activations again; transformers 4 and 5 have different names for it."""
    return any(
        getattr(part, f"{kind}_checkpointing", False) for part in model.modules() for kind in ("gradient", "activation")
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_hyperparameter_changes_the_model_or_is_refused(trained, optimizer):
    assert HYPER.keys() == {field.name for field in fields(Hyper)}
    _, usual = trained({"optimizer": optimizer})
    for name, value in HYPER.items():
        if (name, value) == ("optimizer", optimizer):
            continue
        try:
            trainer, found = trained({"optimizer": optimizer, name: value})
        except InputError as error:
            assert name in str(error)
            continue
        if name not in WORK:
            assert found != usual, name
        assert trainer.args.gradient_accumulation_steps == (2 if name in ("rows", "batch_size") else 1)
        assert checkpoints(trainer.model) == (name == "checkpointing")


def test_every_setting_of_the_objective_changes_the_model_or_is_refused(trained):
    assert OBJECTIVE.keys() == {field.name for field in fields(Objective)}
    _, usual = trained({})
    for name, value in OBJECTIVE.items():
        try:
            assert trained({}, **{name: value})[1] != usual, name
        except InputError as error:
            assert name in str(error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hyper": {"steps": 2, "epochs": 1.0}}, "epochs 1 beside steps"),
        ({"hyper": {"shuffle_paths": True}, "spec": preset("longcot")}, "shuffle_paths on a canvas of one path"),
        ({"add_tags": False, "spec": preset("plain")}, "tags_as_text on a canvas without tags"),
        ({"objective": Objective(masking="structured"), "spec": preset("plain")}, "masking structured on a canvas wi"),
        ({"objective": Objective(times="path"), "spec": preset("plain")}, "times path on a canvas of one slot"),
        ({"objective": Objective(normalise="sequence")}, "normalise sequence with weight 1/t, as all rows have"),
    ],
    ids=str,
)
def test_what_changes_nothing_here_is_refused_before_a_run_begins(place, tmp_path, changes, said):
    hyper = changes.pop("hyper", {})
    with pytest.raises(InputError, match=f"{said}.* changes nothing; drop it"):
        fine_tune(replace(job(place, **hyper), **changes), tmp_path / "run", WATCH, quiet)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_begun_with_what_changes_nothing_goes_on(place, tmp_path):
    made = job(place, steps=2)
    fine_tune(made, tmp_path / "run", WATCH, quiet)
    setting = tmp_path / "run/setting.json"
    setting.write_text(setting.read_text().replace('"epochs": 3.0', '"epochs": 1.0'))
    again = replace(made, hyper=replace(made.hyper, epochs=1.0))
    assert fine_tune(again, tmp_path / "run", WATCH, quiet) == tmp_path / "run/final"
