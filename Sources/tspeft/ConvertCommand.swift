import ArgumentParser
import TSPEFT

struct ConvertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Write a checkpoint in another format, type or set of files.",
        discussion: """
            tspeft convert MODEL -o model.gguf --type q4_k_m
            tspeft convert model.gguf -o MODEL --type bf16
            tspeft convert MODEL -o resharded --max-shard-size 2GB
            tspeft convert parts-00001-of-00003.gguf -o joined.gguf
            tspeft convert ADAPTER -o adapter.tspeft.zst

            INPUT is a Hugging Face directory, a safetensors file (.zst too), a GGUF file (of a split one any part) or an \
            adapter. The output's name says what is written: GGUF (.gguf), a safetensors file (.safetensors), the same \
            packed by Zstandard with a frame for each tensor, so that readers can still take one (.safetensors.zst), \
            an adapter in one file (.tspeft.zst) or else a directory; --to says it again, for scripts.

            Between Hugging Face and GGUF the model must be a known one (Llama, Mistral, Qwen2, Qwen3): names, row \
            order, configuration, tokenizer and chat template are translated. Within one format it may be any, to change \
            types, split or join.

            --type f32, f16 and bf16 (or float32, float16, bfloat16) suit all formats. GGUF also takes llama-quantize's \
            q8_0, q6_k, q5_k_m (or q5_k), q5_k_s, q5_1, q5_0, q4_k_m (or q4_k), q4_k_s, iq4_nl, q4_1, q4_0, mxfp4, q3_k_l, q3_k_m, q3_k_s, q2_k, tq2_0 and tq1_0: the type of each tensor is \
            the one that llama.cpp gives it without an importance matrix (vectors stay F32, and the output head of a \
            q4_k_m file is Q6_K). Unless given, types stay: out of GGUF blocks become BF16, and norms, which GGUF has in \
            F32, get the type of the matrices where that loses nothing. In safetensors a change of type leaves integers \
            and 8-bit floats as they are.
            """)

    @Argument(help: "The checkpoint or adapter.")
    var input: String

    @Option(name: .shortAndLong, help: "Where the result goes.")
    var output: String

    @Option(
        help: ArgumentHelp(
            "The tensors' type by llama-quantize's names, such as bf16 or q4_k_m; kept unless given.", valueName: "type"
        ))
    var type: String?

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @OptionGroup(title: "Rarely needed")
    var rare: RareArguments

    struct RareArguments: ParsableArguments {
        @Option(
            help: """
                The format: huggingface, safetensors, safetensors.zst, gguf, adapter or pack; as the output's name ends unless \
                given.
                """)
        var to: ConvertFormat?

        @Option(
            help: ArgumentHelp(
                """
                Bytes of tensors in one file at most: 5GB, 500MB, 2GiB. Directories have 5GB, or the files of a directory \
                that they come from, and a GGUF model is one file, unless given; a single safetensors file cannot be split.
                """,
                valueName: "size"))
        var maxShardSize: String?

        @Option(help: "Threads; one a processor unless given.")
        var threads: Int?
    }

    @OptionGroup
    var config: ConfigArguments

    func run() throws {
        var request = ConvertRequest(inputPath: input, outputPath: output)
        request.format = rare.to
        request.type = type
        request.shardSize = rare.maxShardSize
        request.replaces = force
        request.threadCount = rare.threads
        if rehearsal.dryRun { return try rehearsal.show(dryRun(of: request), json: json) }
        let start = ContinuousClock.now
        let summary = try convert(request) { done, total in
            Terminal.progress("converting: \(percent(Double(done) / Double(max(1, total)), 0)) %")
        }
        Terminal.endProgress()
        let report = summary.report
        if json {
            Terminal.result(ConversionText.json(report, output: output).text(indent: 2))
        } else {
            for line in ConversionText.summary(report) { Terminal.result(line) }
        }
        let elapsed = (ContinuousClock.now - start) / .seconds(1)
        Terminal.note("written to \(ConversionText.place(of: report, output)) in \(durationText(elapsed))")
    }
}

extension ConvertFormat: ExpressibleByArgument {}
