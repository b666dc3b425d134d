import ArgumentParser
import TSPEFT

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write an adapter for another program.",
        discussion: """
            tspeft export tuned --to peft --gates scale -o peft-adapter
            tspeft export tuned --to gguf-lora --base BASE -o lora.gguf
            tspeft export tuned --to mlx --base BASE -o mlx-adapter

            --to peft writes a directory for peft 0.21, mlx one for mlx-lm, gguf-lora a file for llama.cpp's --lora; for the \
            last two AdaLoRA and VeRA are folded exactly into LoRA, and with --as-lora for peft too. These programs know no \
            gates: of a gated adapter each gate is replaced by its best single factor (--gates scale) or left open \
            (--gates drop), and what that loses is printed per module. --to torch keeps the gates: beside the adapter it \
            writes tspeft_torch.py, which puts it into a model of transformers.
            """)

    @Argument(help: "The adapter: one of tspeft's or of peft's.")
    var adapter: String

    @Option(help: "The format: peft, mlx, gguf-lora or torch.")
    var to: ExportRequest.Format

    @Option(
        help:
            "The base checkpoint, which mlx, gguf-lora and --as-lora need; the one that the adapter names unless given."
    )
    var base: String?

    @Option(name: .shortAndLong, help: "Where the export goes: a file for gguf-lora, else a directory.")
    var output: String

    @Option(
        help: ArgumentHelp(
            "How gates are replaced where the format has none: scale or drop. A gated adapter needs it; nothing is "
                + "replaced unless given."))
    var gates: Gates?

    @Flag(name: .customLong("as-lora"), help: "Fold the method into LoRA for peft too.")
    var asLoRA = false

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @OptionGroup
    var config: ConfigArguments

    func run() throws {
        var request = ExportRequest(adapterPath: adapter, format: to, outputPath: output)
        request.basePath = base
        request.gates = gates
        request.asLoRA = asLoRA
        request.replaces = force
        if rehearsal.dryRun { return try rehearsal.show(dryRun(of: request), json: json) }
        let report = try export(request).report
        if json {
            Terminal.result(ExportText.json(report).text(indent: 2))
        } else {
            for line in ExportText.summary(report) { Terminal.result(line) }
            if report.gates != nil {
                Terminal.result()
                for line in ExportText.table(report) { Terminal.result(line) }
            }
        }
        Terminal.note("written to \(output)")
    }
}

extension ExportRequest.Format: ExpressibleByArgument {}
