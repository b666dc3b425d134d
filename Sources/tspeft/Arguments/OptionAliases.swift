/// A name that another program has for something that an option here says.
struct OptionAlias {
    /// What it stands for.
    enum Meaning {
        /// The first of these options that the command has.
        case option([String])
        /// The command's positional argument, or its option `--base`.
        case positional
        /// Nothing that an option here could say; why, and what to do.
        case refused(String)
    }

    /// The name without its dashes, words joined by hyphens.
    let name: String
    /// What it stands for.
    let meaning: Meaning
    /// How its values are rewritten.
    var conversion = ValueConversion.none
    /// Options beside which the name means something else, with why.
    var notBeside: [String: String] = [:]
    /// The commands where it means this; nil for all that have the option.
    var commands: Set<String>?
}

/// How a value of another program's option becomes one of ours.
enum ValueConversion {
    /// As it stands.
    case none
    /// These words become others; another is taken as it stands, or refused where `others` says why.
    case words([String: String], others: String? = nil)
    /// A share from 0 to below 1 becomes percent; 0 stays.
    case share
    /// A share below 1 becomes percent; a count stays.
    case shareOrCount
    /// `true` sets the flag, `false` does not; another value is refused for the reason.
    case flag(others: String? = nil)
}

extension OptionAlias {
    /// Every name. Ours always win: a name that a command has itself is never looked up here.
    static let all: [OptionAlias] = training + adapters + records + computing + outputs + models

    private static func to(_ target: String, _ names: [String]) -> [OptionAlias] {
        names.map { OptionAlias(name: $0, meaning: .option([target])) }
    }

    private static func refused(_ reason: String, _ names: [String], in commands: Set<String>? = nil) -> [OptionAlias] {
        names.map { OptionAlias(name: $0, meaning: .refused(reason), commands: commands) }
    }

    private static func flag(
        _ target: String, _ names: [String], others: String? = nil
    ) -> [OptionAlias] {
        names.map { OptionAlias(name: $0, meaning: .option([target]), conversion: .flag(others: others)) }
    }

    // MARK: The run: HF Trainer, LLaMA-Factory, mlx-lm

    private static let training: [OptionAlias] =
        to("learning-rate", ["lr"]) + to("epochs", ["num-epochs", "num-train-epochs"]) + to("steps", ["max-steps"])
        + to("batch-size", ["per-device-train-batch-size", "train-batch-size", "micro-batch-size"])
        + to("accumulation", ["gradient-accumulation-steps", "grad-accumulation-steps"])
        + to("warmup", ["warmup-steps"])
        + [
            OptionAlias(name: "warmup-ratio", meaning: .option(["warmup"]), conversion: .share),
            OptionAlias(name: "val-size", meaning: .option(["val-split"]), conversion: .shareOrCount),
        ] + to("early-stop", ["early-stopping-patience", "early-stopping-steps"])
        + to("tensorboard", ["logging-dir"]) + to("clip", ["max-grad-norm"])
        + to("eval-every", ["eval-steps", "steps-per-eval"]) + to("save-every", ["save-steps"])
        + to("keep-checkpoints", ["save-total-limit"]) + to("log-every", ["logging-steps", "steps-per-report"])
        + flag("no-shuffle", ["disable-shuffling"]) + flag("force", ["overwrite-output-dir", "overwrite"])
        + flag(
            "resume", ["resume-from-checkpoint"],
            others: "a run goes on from its last checkpoint: name the run's directory as -o and give --resume")
        + [
            OptionAlias(
                name: "iters", meaning: .option(["steps"]),
                notBeside: [
                    "accumulation":
                        "mlx-lm's --iters counts passes, of which --accumulation makes one step; give --steps"
                ]),
            OptionAlias(
                name: "lr-scheduler-type", meaning: .option(["schedule"]),
                conversion: .words(["constant_with_warmup": "constant", "constant-with-warmup": "constant"])),
            OptionAlias(
                name: "lr-scheduler", meaning: .option(["schedule"]),
                conversion: .words(["constant_with_warmup": "constant", "constant-with-warmup": "constant"])),
            OptionAlias(
                name: "do-sample", meaning: .refused("--temperature 0 takes the likeliest token, one above 0 samples"),
                commands: ["generate"]),
        ]
        + refused(
            "adapters are optimized by AdamW with beta 0.9 and 0.999 and epsilon 1e-8; leave it out",
            ["optim", "optimizer", "adam-beta1", "adam-beta2", "adam-epsilon"], in: ["train"])
        + refused(
            "evaluation packs records into passes by itself; leave it out",
            ["per-device-eval-batch-size", "eval-batch-size", "val-batches"], in: ["train"])

    // MARK: The adapter: peft, LLaMA-Factory, mlx-lm

    private static let adapters: [OptionAlias] =
        to("rank", ["lora-r", "lora-rank", "r"]) + to("alpha", ["lora-alpha"]) + to("dropout", ["lora-dropout"])
        + to("exclude", ["exclude-modules"]) + to("layers", ["layers-to-transform"])
        + to("modules-to-save", ["additional-target"]) + flag("rslora", ["use-rslora"])
        + ["target-modules", "lora-target", "lora-target-modules", "lora-targets"].map {
            OptionAlias(name: $0, meaning: .option(["targets"]), conversion: .words(["all": "all-linear"]))
        }
        + ["finetuning-type", "fine-tune-type"].map {
            OptionAlias(
                name: $0, meaning: .option(["method"]),
                conversion: .words(
                    ["lora": "lora", "dora": "dora"], others: "only adapters are trained: --method lora, or another"))
        }
        + refused("say --method dora, or ts-dora with gates", ["use-dora"])
        + refused(
            "mlx-lm's scale is the factor on the update, which is alpha / rank here: give --alpha, the scale times the "
                + "rank", ["scale", "lora-scale"], in: ["inject", "train"])
        + refused(
            "mlx-lm counts the layers at the end: name them with --layers, such as 24-31",
            ["num-layers", "lora-layers"], in: ["inject", "train"])
        + [
            OptionAlias(
                name: "adapter-path",
                meaning: .refused(
                    "mlx-lm writes there: give -o for the run's directory, or --adapter for the one to start from"),
                commands: ["train"]),
            OptionAlias(
                name: "adapter-path", meaning: .option(["adapter"]), commands: ["eval", "generate", "merge"]),
        ] + to("adapter", ["adapter-name-or-path", "peft-model", "lora-path"])

    // MARK: Records

    private static let records: [OptionAlias] =
        to("max-length", ["max-seq-length", "max-seq-len", "cutoff-len", "model-max-length"])
        + to("data", ["train-file", "test-file"]) + to("eval-data", ["validation-file", "eval-file"])
        + [
            OptionAlias(
                name: "mask-prompt",
                meaning: .refused("only what the model is to say is scored, unless --train-on-prompt is given"),
                commands: ["train", "eval"]),
            OptionAlias(
                name: "dataset", meaning: .refused("records come from files: name them with --data"),
                commands: ["train", "eval"]),
            OptionAlias(
                name: "dataset-name", meaning: .refused("records come from files: name them with --data"),
                commands: ["train", "eval"]),
        ]

    // MARK: Computing and generating

    private static let computing: [OptionAlias] =
        to("threads", ["num-threads", "n-threads"]) + to("temperature", ["temp"])
        + [
            OptionAlias(name: "max-new-tokens", meaning: .option(["max-tokens"])),
            OptionAlias(name: "max-tokens", meaning: .option(["max-new-tokens"])),
            OptionAlias(name: "n-predict", meaning: .option(["max-tokens", "max-new-tokens"])),
            OptionAlias(name: "max-samples", meaning: .option(["limit"]), commands: ["eval"]),
        ]
        + to("eval-limit", ["max-eval-samples"]) + to("system", ["system-prompt"])

    // MARK: Outputs

    private static let outputs: [OptionAlias] =
        to("output", ["output-dir", "save-dir", "save-path", "export-dir", "outfile"]) + to("type", ["outtype"])

    // MARK: Models

    private static let modelNames = [
        "model", "model-name-or-path", "model-path", "base-model", "pretrained-model-name-or-path",
    ]

    private static let models: [OptionAlias] = modelNames.map {
        OptionAlias(name: $0, meaning: .positional, commands: Self.baseCommands)
    }

    /// The commands whose first argument, or whose option `--base`, is a model.
    private static let baseCommands: Set<String> = [
        "inject", "train", "eval", "generate", "merge", "convert", "export",
    ]
}
