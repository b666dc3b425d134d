// Names of transformers, mlx-lm and llama.cpp for computing, generating, writing, and for models.

extension OptionAlias {
    private static let generate: Set<String> = ["generate"]
    /// The commands that pass tokens through a model.
    private static let computers: Set<String> = ["train", "eval", "generate"]

    /// How to compute.
    static let computing: [OptionAlias] = list([
        to("threads", ["num-threads", "n-threads", "-t"]),
        [
            OptionAlias(
                name: "bf16", meaning: .option(["compute-type"]), conversion: .setting("bf16"), commands: computers)
        ],
        refused(
            "numbers are computed in F32 or BF16: --compute-type", ["fp16", "tf32", "half"], unless: ["false"],
            in: computers),
        refused(
            "attention is computed in one way; leave it out", ["attn-implementation", "flash-attn", "-fa"],
            unless: ["auto", "sdpa", "eager", "disabled"], in: computers),
    ])

    /// How texts go on.
    static let sampling: [OptionAlias] = list([
        to("temperature", ["temp"]), to("beams", ["num-beams"]),
        to("repetition-penalty", ["repeat-penalty"], in: generate),
        [
            OptionAlias(name: "max-new-tokens", meaning: .option(["max-tokens"])),
            OptionAlias(name: "max-tokens", meaning: .option(["max-new-tokens"])),
            OptionAlias(name: "n-predict", meaning: .option(["max-tokens", "max-new-tokens"])),
            OptionAlias(name: "predict", meaning: .option(["max-tokens", "max-new-tokens"])),
            OptionAlias(name: "max-samples", meaning: .option(["limit"]), commands: ["eval"]),
        ],
        to("eval-limit", ["max-eval-samples"]), to("system", ["system-prompt", "-sys"]),
        refused("--temperature 0 takes the likeliest token, one above 0 samples", ["do-sample"], in: generate),
        refused(
            "there are --temperature, --top-k, --top-p, --min-p, --repetition-penalty and --beams",
            [
                "typical", "typical-p", "mirostat", "xtc-probability", "presence-penalty", "frequency-penalty",
                "length-penalty", "no-repeat-ngram-size", "num-return-sequences", "grammar", "json-schema",
            ], in: generate),
    ])

    /// What llama.cpp and mlx-lm have beside.
    static let llama: [OptionAlias] = list([
        refused(
            "this runs on the machine's processors: --threads says on how many",
            ["-ngl", "n-gpu-layers", "gpu-layers", "main-gpu", "-dev", "device"], unless: ["0", "none", "cpu"],
            in: computers),
        refused(
            "a text may have as many tokens as the model has positions; leave it out",
            ["-c", "ctx-size", "max-kv-size", "n-ctx", "context-size"], in: generate),
        refused(
            "passes are as large as they need to be; leave it out",
            ["-b", "batch-size", "-ub", "ubatch-size", "prefill-step-size"], in: generate),
        refused("files are mapped, as they are; leave it out", ["mlock", "no-mmap"], in: computers),
        refused(
            "models come from files: download one, as with 'hf download NAME --local-dir FOLDER', and name the folder",
            ["-hf", "hf-repo", "hf-file", "repo-id"], in: baseCommands),
        refused(
            "the model's chat template is what --chat and --interactive use; leave it out", ["jinja"], in: generate),
        refused(
            "a text is continued as it is without --chat and --interactive; leave it out",
            ["-no-cnv", "no-conversation"], in: generate),
        to("seed", ["-s"], in: generate), to("prompt-file", ["-f", "file"], in: generate),
        to("stop", ["-r", "reverse-prompt"], in: generate),
        to("chat-template", ["chat-template-file"], in: computers),
        flag("interactive", ["-cnv", "conversation"], in: generate),
        flag("no-echo", ["no-display-prompt"], in: generate),
    ])

    /// Where results go, and as what.
    static let outputs: [OptionAlias] = list([
        to("output", ["output-dir", "save-dir", "save-path", "export-dir", "outfile", "output-file"]),
        to("output", ["mlx-path"], in: ["convert"]), to("type", ["outtype"]),
        refused(
            "--type says what is written, such as q4_k_m", ["-q", "quantize", "q-bits", "q-group-size"],
            in: ["convert"]),
    ])

    /// What is worked on.
    static let models: [OptionAlias] = list([
        [
            "model", "model-name-or-path", "model-path", "base-model", "pretrained-model-name-or-path", "-m",
        ].map { OptionAlias(name: $0, meaning: .positional, commands: baseCommands) },
        [OptionAlias(name: "hf-path", meaning: .positional, commands: ["convert"])],
    ])

    /// The commands whose first argument, or whose option `--base`, is a model.
    private static let baseCommands: Set<String> = [
        "inject", "train", "eval", "generate", "merge", "convert", "export",
    ]
}
