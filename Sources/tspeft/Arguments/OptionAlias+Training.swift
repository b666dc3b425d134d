// Names of Hugging Face's Trainer, LLaMA-Factory, mlx-lm and peft, for training.

extension OptionAlias {
    private static let train: Set<String> = ["train"]
    /// The commands that make an adapter.
    private static let makers: Set<String> = ["inject", "train"]

    /// How long, how fast, and what is left on the disk.
    static let training: [OptionAlias] = list([
        to("learning-rate", ["lr"]), to("epochs", ["num-epochs", "num-train-epochs"]), to("steps", ["max-steps"]),
        to("batch-size", ["per-device-train-batch-size", "per-gpu-train-batch-size", "train-batch-size"]),
        to("batch-size", ["micro-batch-size"]),
        to("accumulation", ["gradient-accumulation-steps", "grad-accumulation-steps", "grad-accum"]),
        to("warmup", ["warmup-steps"]), to("val-split", ["val-size"]),
        [OptionAlias(name: "warmup-ratio", meaning: .option(["warmup"]), conversion: .share)],
        to("early-stop", ["early-stopping-patience", "early-stopping-steps"]),
        to("tensorboard", ["logging-dir"]), to("clip", ["max-grad-norm"]),
        to("eval-every", ["eval-steps", "steps-per-eval"]), to("save-every", ["save-steps"]),
        to("keep-checkpoints", ["save-total-limit"]), to("log-every", ["logging-steps", "steps-per-report"]),
        flag("no-shuffle", ["disable-shuffling"]),
        flag("force", ["overwrite-output-dir", "overwrite", "overwrite-output"]),
        flag(
            "resume", ["resume-from-checkpoint"],
            others: "a run goes on from its last checkpoint: name the run's directory as -o and give --resume"),
        [
            OptionAlias(
                name: "iters", meaning: .option(["steps"]),
                notBeside: [
                    "accumulation":
                        "mlx-lm's --iters counts passes, of which --accumulation makes one step; give --steps"
                ])
        ],
        words(
            "schedule", ["lr-scheduler-type", "lr-scheduler"],
            ["constant_with_warmup": "constant", "constant-with-warmup": "constant"]),
        refused(
            "adapters are optimized by AdamW with beta 0.9 and 0.999 and epsilon 1e-8; leave it out",
            ["optim", "optimizer", "adam-beta1", "adam-beta2", "adam-epsilon"], in: train),
        refused(
            "evaluation packs records into passes by itself; leave it out",
            ["per-device-eval-batch-size", "eval-batch-size", "val-batches"], in: train),
    ])

    /// What Trainer's and LLaMA-Factory's files say beside, most of which is so here or cannot be.
    static let trainer: [OptionAlias] = list([
        refused(
            "nothing is sent anywhere; --tensorboard FOLDER writes TensorBoard's events, --csv FILE a table",
            ["report-to", "wandb", "use-wandb", "wandb-project", "run-name", "plot-loss"],
            unless: ["none", "false"], in: train),
        refused(
            "evaluation goes by steps: --eval-every says how many", ["eval-strategy", "evaluation-strategy"],
            unless: ["steps", "no"], in: train),
        refused("checkpoints go by steps: --save-every says how many", ["save-strategy"], unless: ["steps"], in: train),
        refused("lines go by steps: --log-every says how many", ["logging-strategy"], unless: ["steps"], in: train),
        refused(
            "with --eval-every, the adapter of the lowest validation loss is kept in OUTPUT/best",
            ["load-best-model-at-end", "greater-is-better"], unless: ["false"], in: train),
        refused(
            "the best adapter is the one of the lowest validation loss", ["metric-for-best-model"],
            unless: ["loss", "eval_loss"], in: train),
        refused(
            "activations are kept for the backward pass; where memory is short, a smaller --batch-size with more "
                + "--accumulation makes the same steps",
            ["gradient-checkpointing", "grad-checkpoint", "use-gradient-checkpointing"], unless: ["false"], in: train),
        refused(
            "what is trained is the adapter, in F32; frozen weights are used as the base's file has them, in F32 or BF16 "
                + "(--compute-type)",
            [
                "load-in-4bit", "load-in-8bit", "quantization-bit", "quantization-method", "bnb-4bit-compute-dtype",
                "bnb-4bit-quant-type",
            ], unless: ["false", "none"], in: train),
        refused(
            "this runs on the machine's processors: --threads says on how many",
            [
                "deepspeed", "fsdp", "local-rank", "ddp-timeout", "ddp-find-unused-parameters", "device-map",
                "dataloader-num-workers", "preprocessing-num-workers", "cuda", "no-cuda", "use-cpu", "n-gpus",
            ], unless: ["none", "cpu", "auto"], in: ["train", "eval", "generate"]),
        refused("this command trains; leave it out", ["train", "do-train"], unless: ["true"], in: train),
        refused(
            "--eval-data or --val-split say what is evaluated on; leave it out", ["do-eval", "do-predict", "test"],
            unless: ["false"], in: train),
        refused(
            "adapters are tuned on what records say (sft), and in no other way", ["stage"], unless: ["sft"], in: train),
        refused(
            "conversations are put into the model's own chat template, or another of --chat-template", ["template"],
            in: ["train", "eval", "generate"]),
        refused("records are packed into passes, each by itself; leave it out", ["packing"], in: train),
        refused(
            "no code that comes with a model is run; leave it out", ["trust-remote-code"], unless: ["false"],
            in: ["inject", "train", "eval", "generate", "merge", "convert"]),
        refused("--seed is for the order of data too", ["data-seed"], in: train),
        refused("take a part of the file, as with head -n", ["max-train-samples"], in: train),
    ])

    /// What adapters are: peft, LLaMA-Factory, mlx-lm.
    static let adapters: [OptionAlias] = list([
        to("rank", ["lora-r", "lora-rank", "r"]), to("alpha", ["lora-alpha"]), to("dropout", ["lora-dropout"]),
        to("exclude", ["exclude-modules"]), to("layers", ["layers-to-transform"]),
        to("modules-to-save", ["additional-target"]), flag("rslora", ["use-rslora"]),
        words(
            "targets", ["target-modules", "lora-target", "lora-target-modules", "lora-targets"], ["all": "all-linear"]),
        words(
            "method", ["finetuning-type", "fine-tune-type"], ["lora": "lora", "dora": "dora"],
            others: "only adapters are trained: --method lora, or another"),
        words(
            "method", ["peft-type"], ["lora": "lora", "adalora": "adalora", "ia3": "ia3", "vera": "vera"],
            others: "there is no such method here; --method names those that there are"),
        refused("say --method dora, or ts-dora with gates", ["use-dora"], unless: ["false"], in: makers),
        refused(
            "adapters are made for causal language models", ["task-type"], unless: ["causal_lm"], in: makers),
        refused("biases are not trained", ["bias"], unless: ["none"], in: makers),
        refused(
            "an update begins at zero, as peft's does where this is true", ["init-lora-weights"], unless: ["true"],
            in: makers),
        refused("the base's form is known; leave it out", ["fan-in-fan-out"], unless: ["false"], in: makers),
        refused(
            "mlx-lm's scale is the factor on the update, which is alpha / rank here: give --alpha, the scale times the "
                + "rank", ["scale", "lora-scale"], in: makers),
        refused(
            "mlx-lm counts the layers at the end: name them with --layers, such as 24-31",
            ["num-layers", "lora-layers"], in: makers),
        [
            OptionAlias(
                name: "adapter-path",
                meaning: .refused(
                    "mlx-lm writes there: give -o for the run's directory, or --adapter for the one to start from"),
                commands: train),
            OptionAlias(
                name: "adapter-path", meaning: .option(["adapter"]), commands: ["eval", "generate", "merge"]),
        ], to("adapter", ["adapter-name-or-path", "peft-model", "lora-path", "lora"]),
        refused(
            "name the adapter with --adapter; 'merge --adapter a:0.5' puts half of it in", ["lora-scaled"],
            in: ["generate"]),
    ])

    /// What is learned from, and measured on.
    static let records: [OptionAlias] = list([
        to("max-length", ["max-seq-length", "max-seq-len", "cutoff-len", "model-max-length"]),
        to("data", ["train-file", "test-file"]), to("eval-data", ["validation-file", "eval-file"]),
        refused(
            "only what the model is to say is scored, unless --train-on-prompt is given", ["mask-prompt"],
            unless: ["true"], in: ["train", "eval"]),
        refused(
            "records come from files: name them with --data", ["dataset", "dataset-name", "dataset-dir"],
            in: ["train", "eval"]),
    ])
}
