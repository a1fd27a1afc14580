"""Trains an image classifier that knows when it does not know: ACET, CEDA, or plain training.

Examples:

  python train.py --dataset=digits --method=acet
  python train.py --dataset=mnist --flagfile=recipes/fast/mnist_acet.flags
  python train.py --dataset=npz:my_images.npz --method=acet --epochs=20 --run_dir=runs/mine

Flags given later win over earlier ones and over those in a flag file. Flags whose default is
"by data set" take the paper's value where the paper has the set or one of its kind, and our own for
digits. A killed run goes on from its last completed epoch when the same command is given again.
"""

import pathlib
import sys

from absl import flags as absl_flags

from keras_acet.cli import commands

# What the paper used for MNIST; the data sets below name only their differences. The network is the one of
# `datasets.default_network`.
_PAPER = {
    "epochs": 100,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "steps",
    "weight_decay": 5e-4,
    "augmentation": "crop",
    "noise": "paper",
    "epsilon": 0.3,
    "num_steps": 40,
    "step_schedule": "constant",
    "attack_momentum": 0.0,
    "adversary": "fresh",
    "image_start_probability": 0.0,
    "calibration_fraction": 0.04,
}
_RESNET = {"optimizer": "sgd", "learning_rate": 0.1}
_BY_DATASET = {
    "mnist": {},
    "fashion_mnist": {},
    "kmnist": {},
    "emnist_letters": {},
    "svhn": _RESNET,
    "cifar10": {**_RESNET, "augmentation": "flip_crop"},
    "cifar100": {**_RESNET, "augmentation": "flip_crop"},
    # Not in the paper: our own recipe, about a minute on two cores.
    "digits": {
        "epochs": 30,
        "schedule": "cosine",
        "weight_decay": 0.0,
        "augmentation": "none",
        "adversary": "persistent",
        "epsilon": 0.33,
        "num_steps": 10,
        "step_schedule": "loguniform",
        "step_size": 0.03,
        "step_size_max": 0.2,
        "attack_momentum": 0.75,
        "image_start_probability": 0.5,
        "calibration_fraction": 0.1,
    },
    # The paper's 3000 full-batch iterations, as 30 epochs of 100; its 4000 noise points per iteration
    # are 2000 here, as many as there are clean ones.
    "moons": {
        "epochs": 30,
        "calibration_fraction": 0.0,
        "steps_per_epoch": 100,
        "batch_size": 2000,
        "learning_rate": 1e-2,
        "schedule": "constant",
        "weight_decay": 0.0,
        "augmentation": "none",
        "noise": "uniform",
        "epsilon": 0.025,
        "num_steps": 4,
        "step_size": 0.02,
    },
}
# On top of that, for networks that need something else.
_BY_NETWORK = {"rbf": {"optimizer": "adam", "learning_rate": 1e-2}}
# The user's own data: the paper's recipe, with the noise by the shape of an image.
_OWN_DATA = {"augmentation": "none", "noise": None, "calibration_fraction": 0.1}
_NOT_SETTINGS = ("run_dir", "overwrite", "data_dir", "download", "flagfile", "only_check_args")

_BY = " (default: by data set)"


def _define(values: absl_flags.FlagValues) -> None:
    # Data and run.
    absl_flags.DEFINE_string(
        "dataset",
        "digits",
        "What to train on: digits or moons (nothing to download); mnist, fashion_mnist, kmnist, emnist_letters, svhn, "
        "cifar10 or cifar100 (TensorFlow Datasets); folder:PATH (images in one sub-folder per class); npz:PATH.",
        flag_values=values,
    )
    absl_flags.DEFINE_enum("method", "acet", ["plain", "ceda", "acet"], "How to train.", flag_values=values)
    absl_flags.DEFINE_string(
        "run_dir", None, "Where the run is written (default: runs/DATASET-METHOD).", flag_values=values
    )
    absl_flags.DEFINE_boolean(
        "overwrite",
        False,
        "Replace a finished run, or one made with other flags: all that is in the run directory goes.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "data_dir", None, "Where TensorFlow Datasets keeps its data (default: its own choice).", flag_values=values
    )
    absl_flags.DEFINE_boolean(
        "download", True, "Download a data set that is not in the data directory.", flag_values=values
    )
    absl_flags.DEFINE_integer(
        "image_size",
        None,
        "Height and width that images are scaled to (default: as they are).",
        lower_bound=1,
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "calibration_fraction",
        None,
        "Share of the training images that is kept out of training, for temperature and thresholds; the paper: 0 "
        "(default: 0.04; digits and your own data 0.1, moons 0).",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "seed",
        0,
        "Seed of weights, order, noise and attacks.",
        lower_bound=0,
        upper_bound=2**31 - 1,
        flag_values=values,
    )
    absl_flags.DEFINE_boolean(
        "deterministic",
        True,
        "Same seed, same numbers bit for bit, and a killed run ends as an undisturbed one; without it a GPU may be "
        "faster.",
        flag_values=values,
    )

    # Network and optimisation.
    absl_flags.DEFINE_string(
        "network",
        None,
        f"lenet, resnet20, mlp, rbf, or a model of keras.applications such as MobileNetV2{_BY}.",
        flag_values=values,
    )
    absl_flags.DEFINE_integer("epochs", None, f"Number of epochs{_BY}.", lower_bound=1, flag_values=values)
    absl_flags.DEFINE_integer(
        "steps_per_epoch",
        None,
        "Length of an epoch in steps, 0 for once through the training set; fewer try a recipe out (default: 0, moons "
        "100).",
        lower_bound=0,
        flag_values=values,
    )
    absl_flags.DEFINE_integer("batch_size", None, f"Clean images per step{_BY}.", lower_bound=1, flag_values=values)
    absl_flags.DEFINE_enum("optimizer", None, ["adam", "sgd"], f"The optimizer{_BY}.", flag_values=values)
    absl_flags.DEFINE_float("learning_rate", None, f"The learning rate before any schedule{_BY}.", flag_values=values)
    absl_flags.DEFINE_float("momentum", 0.9, "Momentum of sgd, in [0, 1).", flag_values=values)
    absl_flags.DEFINE_enum(
        "schedule",
        None,
        ["constant", "cosine", "steps"],
        f"How the learning rate goes on: cosine falls to 0 at the end, steps divides by 10 at --drop_epochs{_BY}.",
        flag_values=values,
    )
    absl_flags.DEFINE_list(
        "drop_epochs",
        ["50", "75", "90"],
        "Number of completed epochs at each division by 10, with --schedule=steps.",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "warmup_epochs",
        0.0,
        "Epochs in which the learning rate rises from 0, fractions allowed.",
        lower_bound=0.0,
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "weight_decay",
        None,
        f"Factor of the sum of squared weights in the loss, without 1/2{_BY}.",
        lower_bound=0.0,
        flag_values=values,
    )
    absl_flags.DEFINE_string("augmentation", None, f"none, crop or flip_crop{_BY}.", flag_values=values)
    absl_flags.DEFINE_integer(
        "crop_padding",
        4,
        "Zero pixels added on each side before a crop; the paper: 4.",
        lower_bound=0,
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "ema_momentum",
        0.0,
        "Momentum of the average of the weights that training ends with, in [0, 1); 0: no average.",
        flag_values=values,
    )

    # Noise.
    absl_flags.DEFINE_enum(
        "noise",
        None,
        ["paper", "permuted", "uniform"],
        "The out-distribution: half permuted images, half uniform, blurred and rescaled; or one of the halves alone"
        f"{_BY}.",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "min_sigma", 1.0, "Smallest standard deviation of the blur, in pixels, positive.", flag_values=values
    )
    absl_flags.DEFINE_float("max_sigma", 2.5, "Largest standard deviation of the blur, in pixels.", flag_values=values)
    absl_flags.DEFINE_enum(
        "sigma_per", "batch", ["batch", "image"], "One sigma for each; the paper: batch.", flag_values=values
    )
    absl_flags.DEFINE_float("noise_fraction", 1.0, "Noise images per clean image, in (0, 1].", flag_values=values)
    absl_flags.DEFINE_float(
        "penalty_weight",
        1.0,
        "lambda in the paper: weight of the confidence on noise.",
        lower_bound=0.0,
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "penalty_ramp_epochs",
        0.0,
        "Epochs in which --penalty_weight rises from 0, fractions allowed.",
        lower_bound=0.0,
        flag_values=values,
    )

    # Attack.
    absl_flags.DEFINE_float(
        "epsilon", None, f"Radius of the attack in pixel units, in (0, 1]{_BY}.", flag_values=values
    )
    absl_flags.DEFINE_integer(
        "num_steps", None, f"Attack steps per training step{_BY}.", lower_bound=1, flag_values=values
    )
    absl_flags.DEFINE_enum(
        "step_schedule",
        None,
        ["constant", "linear", "loguniform"],
        "Whether all steps of an attack are --step_size; fall linearly to 0 from there; or from a first step that is "
        "drawn for each batch, log-uniformly between --step_size and --step_size_max (default: constant; digits: "
        "loguniform).",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "step_size",
        None,
        "Size of an attack step in pixel units (default: by data set, else epsilon / num_steps).",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "step_size_max", None, "Largest first step, with --step_schedule=loguniform (digits: 0.2).", flag_values=values
    )
    absl_flags.DEFINE_float(
        "attack_momentum", None, f"Momentum of the attack, in [0, 1); the paper: 0{_BY}.", flag_values=values
    )
    absl_flags.DEFINE_enum(
        "attack_start",
        "random",
        ["input", "random"],
        "Start at the noise image, or at a random point of the ball.",
        flag_values=values,
    )
    absl_flags.DEFINE_float(
        "image_start_probability",
        None,
        f"Chance that an attack starts from a training image, projected into the ball, in [0, 1]; the paper: 0{_BY}.",
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "attack_precision",
        "float32",
        ["bfloat16", "float32"],
        "What the network computes in during the attack alone.",
        flag_values=values,
    )
    absl_flags.DEFINE_enum(
        "adversary",
        None,
        ["fresh", "persistent"],
        "fresh noise for every batch, as published; or a pool of noise images whose attacks go on from batch to batch "
        "(default: fresh; digits: persistent).",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "pool_size", 2048, "Noise images in the pool of the persistent adversary.", lower_bound=1, flag_values=values
    )
    absl_flags.DEFINE_float(
        "refresh_probability", 0.12, "Chance that a drawn image of the pool is replaced, in (0, 1].", flag_values=values
    )

    # The table at the end.
    absl_flags.DEFINE_integer("num_noise", 512, "Noise images in the final table.", lower_bound=1, flag_values=values)
    absl_flags.DEFINE_float(
        "eval_epsilon",
        None,
        "Radius of the final table's attacks, in (0, 1] (default: 0.3, moons 0.025).",
        flag_values=values,
    )

    commands.between("epsilon", 0, 1, values, high_allowed=True, hint=commands.PIXELS)
    commands.between("eval_epsilon", 0, 1, values, high_allowed=True, hint=commands.PIXELS)
    commands.between("step_size", 0, 1, values, high_allowed=True, hint=commands.PIXELS)
    commands.between("step_size_max", 0, 1, values, high_allowed=True, hint=commands.PIXELS)
    commands.between("learning_rate", 0, float("inf"), values)
    commands.between("momentum", 0, 1, values, low_allowed=True)
    commands.between("ema_momentum", 0, 1, values, low_allowed=True)
    commands.between("attack_momentum", 0, 1, values, low_allowed=True)
    commands.between("min_sigma", 0, float("inf"), values, hint=", in pixels; the paper: 1.0")
    commands.between("max_sigma", 0, float("inf"), values, hint=", in pixels; the paper: 2.5")
    commands.between("noise_fraction", 0, 1, values, high_allowed=True)
    commands.between("image_start_probability", 0, 1, values, low_allowed=True, high_allowed=True)
    commands.between("refresh_probability", 0, 1, values, high_allowed=True)
    commands.between("calibration_fraction", 0, 1, values, low_allowed=True)
    for name in ("weight_decay", "penalty_weight", "warmup_epochs", "penalty_ramp_epochs"):
        commands.between(name, 0, float("inf"), values, low_allowed=True)
    absl_flags.register_multi_flags_validator(
        ["min_sigma", "max_sigma"],
        _sigmas_in_order,
        message="--max_sigma must be at least --min_sigma",
        flag_values=values,
    )
    absl_flags.register_validator(
        "drop_epochs", _epochs_rise, message="must be rising whole numbers, such as 50,75,90", flag_values=values
    )
    absl_flags.register_validator(
        "dataset", _dataset_is_given, message="must be a name, folder:PATH or npz:PATH, in one line", flag_values=values
    )


def _sigmas_in_order(values):
    return values["min_sigma"] <= values["max_sigma"]


def _epochs_rise(values):
    numbers = [int(value) if value.strip().isdecimal() else 0 for value in values]
    return all(before < after for before, after in zip([0, *numbers], numbers, strict=False))


def _dataset_is_given(value):
    kind, _, path = value.partition(":")
    return value.isprintable() and value.strip() != "" and (kind not in ("folder", "npz") or path != "")


def _run(call: commands.Call) -> None:
    flags = call.flags
    settings = _settings(flags)
    run_dir = pathlib.Path(flags.run_dir or _default_run_dir(flags))
    with commands.quiet_start():
        import keras
        import tensorflow as tf

        from keras_acet import datasets, evaluation, networks, schedules, typed_json, version
        from keras_acet.training import ACETModel, runs

        if settings["deterministic"]:
            # TensorFlow's own switch does not cover the order in which gradients of several paths are summed on the
            # CPU; that depends on which operation ends first, so there must be one at a time.
            tf.config.experimental.enable_op_determinism()
            tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.list_logical_devices()

    seeds = _seeds(settings["seed"])
    keras.utils.set_random_seed(seeds["weights"])
    run = runs.RunDirectory(run_dir)

    # Everything that can fail for the user's reasons comes before the run directory is touched.
    with call.user_errors():
        run.check(_as_text(settings), overwrite=flags.overwrite)
        data = datasets.load(
            settings["dataset"],
            data_dir=flags.data_dir,
            batch_size=settings["batch_size"],
            augmentation=settings["augmentation"],
            crop_padding=settings["crop_padding"],
            seed=seeds["data"],
            image_size=settings["image_size"],
            download=flags.download,
            calibration_fraction=settings["calibration_fraction"],
        )
        if settings["network"] is None:
            settings["network"] = datasets.default_network(settings["dataset"], data.image_shape)
        network = networks.build(
            settings["network"],
            data.image_shape,
            data.num_classes,
            weight_decay=settings["weight_decay"],
        )
        if settings["noise"] is None:
            settings["noise"] = "paper" if len(data.image_shape) == 3 else "uniform"
        steps_per_epoch = settings["steps_per_epoch"] or data.steps_per_epoch
        model = ACETModel(network, _penalty(settings, seeds, data, steps_per_epoch))
        rate = schedules.learning_rate(
            settings["schedule"],
            settings["learning_rate"],
            epochs=settings["epochs"],
            steps_per_epoch=steps_per_epoch,
            drop_epochs=[int(epoch) for epoch in settings["drop_epochs"]],
            warmup_epochs=settings["warmup_epochs"],
        )
        model.compile(optimizer=_optimizer(settings, rate), metrics=["accuracy"])
        model.build((None, *data.image_shape))
        model.optimizer.build(model.trainable_variables)
        extra_flags = {"data_dir": flags.data_dir} if flags.data_dir else {}
        run.claim(_as_text(settings), overwrite=flags.overwrite, extra_flags=extra_flags, fingerprint=data.fingerprint)

    with call.user_errors():
        progress = run.restore(model)
    for note in progress.notes:
        call.note(note)
    if progress.epoch:
        print(f"Going on after epoch {progress.epoch} of {settings['epochs']}.")
    try:
        model.fit(
            _batches_from(data, progress.epoch * steps_per_epoch),
            steps_per_epoch=steps_per_epoch,
            epochs=settings["epochs"],
            initial_epoch=progress.epoch,
            validation_data=data.test,
            callbacks=run.callbacks(progress),
            shuffle=False,  # the batches come shuffled
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except runs.NonFiniteLossError as error:
        raise commands.UserError(error, code=1) from error
    run.save_network(network)

    table = evaluation.evaluate(
        network,
        data,
        evaluation.Protocol(
            epsilon=settings["eval_epsilon"],
            larger_epsilon=0.0,
            num_noise=settings["num_noise"],
            num_bounded=0,
            num_adversarial=0,
            num_trials=0,
            num_bootstrap=100,
            seed=seeds["evaluation"],
        ),
        suite=evaluation.worst_case_attacks,
    )
    run.finish(
        {
            "flags": _as_text(settings),
            "table": typed_json.to_json(table.rows),
            "last_epoch": progress.history[-1],
            "training_seconds": round(progress.seconds, 1),
            "data_fingerprint": data.fingerprint,
            "versions": version.installed_versions(),
        }
    )
    print(f"\n{table}\n\nRun directory: {run_dir}")


def _penalty(settings, seeds, data, steps_per_epoch):
    import keras

    from keras_acet import attack, noise, penalties

    if settings["method"] == "plain":
        return None
    if settings["noise"] != "uniform" and len(data.image_shape) != 3:
        raise ValueError(
            f"--noise={settings['noise']} needs images; vectors such as those of {data.name} take --noise=uniform"
        )
    if settings["noise"] == "paper":
        source = noise.PaperNoise(
            min_sigma=settings["min_sigma"],
            max_sigma=settings["max_sigma"],
            sigma_per=settings["sigma_per"],
            seed=seeds["noise"],
        )
    elif settings["noise"] == "permuted":
        source = noise.PermutedNoise(seed=seeds["noise"])
    else:
        source = noise.UniformNoise(seed=seeds["noise"])
    weight = settings["penalty_weight"]
    if settings["penalty_ramp_epochs"]:
        ramp_steps = max(round(settings["penalty_ramp_epochs"] * steps_per_epoch), 1)
        weight = keras.optimizers.schedules.PolynomialDecay(0.0, ramp_steps, weight)
    always = {
        "weight": weight,
        "attack_precision": settings["attack_precision"],
        "noise_fraction": settings["noise_fraction"],
    }
    if settings["method"] == "ceda":
        return penalties.ConfidencePenalty(source, **always)
    if settings["step_schedule"] == "loguniform":
        step_size = attack.LogUniformDecay(settings["step_size"], settings["step_size_max"])
    elif settings["step_schedule"] == "linear":
        step_size = attack.LinearDecay(settings["step_size"])
    else:
        step_size = settings["step_size"]
    pgd = attack.PGD(
        epsilon=settings["epsilon"],
        num_steps=settings["num_steps"],
        step_size=step_size,
        momentum=settings["attack_momentum"],
        start=settings["attack_start"],
        seed=seeds["attack"],
    )
    pool = None
    if settings["adversary"] == "persistent":
        pool = penalties.NoisePool(settings["pool_size"], settings["refresh_probability"])
    return penalties.ConfidencePenalty(
        source,
        pgd,
        image_start_probability=settings["image_start_probability"],
        pool=pool,
        seed=seeds["pool"],
        **always,
    )


def _optimizer(settings, rate):
    """The optimizer as Keras has it.

    Differs from the authors' code, which uses that of TensorFlow 1:
    1. The velocity of `sgd` is in units of the weights' change (`v = momentum v - rate gradient`), not of the gradient,
       so the velocity from before a drop of the rate lives on at its old size for about `1 / (1 - momentum)` steps.
    2. The epsilon of `adam` is 1e-7, not 1e-8.
    """
    import keras

    average = {}
    if settings["ema_momentum"]:
        average = {"use_ema": True, "ema_momentum": settings["ema_momentum"]}
    if settings["optimizer"] == "adam":
        return keras.optimizers.Adam(rate, **average)
    return keras.optimizers.SGD(rate, momentum=settings["momentum"], **average)


def _batches_from(data, step):
    """The endless stream of batches that an undisturbed run would see from `step` on."""
    epoch, skipped = divmod(step, data.steps_per_epoch)
    batches = data.train_from(epoch)
    return batches.skip(skipped) if skipped else batches


def _settings(flags):
    """All flags that decide what the run computes, with those left open set to the data set's."""
    dataset = flags.dataset
    defaults = _OWN_DATA if dataset.startswith(("folder:", "npz:")) else _BY_DATASET.get(dataset, {})
    defaults = {**_PAPER, "steps_per_epoch": 0, **defaults, **_BY_NETWORK.get((flags.network or "").lower(), {})}
    settings = {}
    for name in sorted(flags):
        if name not in _NOT_SETTINGS:
            settings[name] = defaults.get(name) if flags[name].value is None else flags[name].value
    if settings["step_schedule"] != defaults["step_schedule"]:  # the data set's steps are for its own schedule
        settings["step_size"], settings["step_size_max"] = flags.step_size, flags.step_size_max
    if settings["step_size"] is None and settings["step_schedule"] != "loguniform":
        settings["step_size"] = settings["epsilon"] / settings["num_steps"]
    _check_step_sizes(settings)
    if settings["eval_epsilon"] is None:
        settings["eval_epsilon"] = 0.025 if dataset == "moons" else 0.3
    noise_per_step = settings["noise_fraction"] * settings["batch_size"]
    has_pool = settings["method"] == "acet" and settings["adversary"] == "persistent"
    if has_pool and settings["pool_size"] < noise_per_step:
        raise commands.UserError(
            f"--pool_size={settings['pool_size']} must be at least the {noise_per_step:.0f} noise images of a step"
        )
    return settings


def _check_step_sizes(settings):
    low, high = settings["step_size"], settings["step_size_max"]
    if settings["step_schedule"] != "loguniform":
        if high is not None:
            schedule = settings["step_schedule"]
            raise commands.UserError(
                f"--step_size_max={high:g} is for --step_schedule=loguniform; the schedule is {schedule}"
            )
    elif low is None or high is None or low > high:
        raise commands.UserError(
            "--step_schedule=loguniform needs a --step_size and a --step_size_max that is not smaller; "
            f"they are {low} and {high}"
        )


def _as_text(settings):
    """Flags as they stand in a flag file, without those that are not set."""
    texts = {}
    for name, value in settings.items():
        if value is not None:
            texts[name] = ",".join(value) if isinstance(value, list) else str(value)
    return texts


def _default_run_dir(flags):
    kind, _, path = flags.dataset.partition(":")
    name = f"{kind}-{pathlib.Path(path).stem}" if path else kind
    return f"runs/{name}-{flags.method}"


def _seeds(seed):
    """One independent seed per use, so that no two random streams are the same."""
    import numpy as np

    uses = ("weights", "data", "noise", "attack", "pool", "evaluation")
    return dict(
        zip(
            uses,
            (np.random.SeedSequence(seed).generate_state(len(uses)) >> 1).tolist(),
            strict=True,
        )
    )


COMMAND = commands.Command(
    doc=__doc__ or "",
    define=_define,
    run=_run,
    example="--dataset=digits",
    when_stopped="the same command goes on after the last completed epoch",
)
main = COMMAND.main
