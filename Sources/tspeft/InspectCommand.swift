import ArgumentParser
import Workflows

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Say what a checkpoint or an adapter is.",
        discussion: """
            PATH is a Hugging Face directory, a .safetensors or GGUF file, an adapter, or the directory of a training \
            run. Only headers and small files are read.
            """)

    @Argument(help: "A checkpoint, an adapter or a training run.")
    var path: String

    @Option(
        help: ArgumentHelp(
            "List the tensors of this name, or all that a pattern such as '*.q_proj.*' matches.",
            valueName: "pattern"))
    var tensors: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let inspection = try inspectFiles(path, tensors: tensors)
        if json {
            Terminal.result(try inspection.json.text(indent: 2))
        } else {
            for line in InspectionText.lines(inspection) { Terminal.result(line) }
        }
    }
}
