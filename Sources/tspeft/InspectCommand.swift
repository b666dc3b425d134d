import ArgumentParser
import CheckpointIO
import TSPEFT

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Say what a checkpoint or an adapter is, or how two differ.",
        discussion: """
            tspeft inspect BASE
            tspeft inspect adapter --against BASE
            tspeft inspect model.gguf --tensors '*.attn_q.*' --stats
            tspeft inspect BASE merged

            PATH is a Hugging Face directory, a .safetensors or GGUF file with any content, an adapter (a directory, or \
            llama.cpp's GGUF file), or the directory of a training run. Only headers and small files are read unless \
            --stats, --checksum or OTHER ask for more.

            --checksum hashes with SHA-256. A tensor's digest is that of one line, 'TYPE EXTENTS' and a line feed \
            (such as 'BF16 4096,1024'; the extents outermost first, none for a scalar), followed by its bytes as they \
            are stored. The checksum of the checkpoint is that of the text of all 'DIGEST  NAME' lines (two spaces, a \
            line feed after each), sorted by the bytes of the names; a name with a backslash or a line feed has them \
            as \\\\ and \\n and a backslash before its line, as sha256sum does it. So it stays the same when tensors \
            are put into another order or other files.

            With OTHER, the tensors of PATH (A) and OTHER (B) are compared, two checkpoints or two adapters: which \
            only one has, which have another shape or type, and for changed ones how many values differ, the largest \
            |B - A|, and |B - A| / |A| (Frobenius norm; inf where A is zero), the most changed first. A Hugging Face \
            model and a GGUF one are compared by Hugging Face's names and order of rows. Values that are NaN or \
            infinite in either count as differing and in no other figure. The exit code is 0 whatever the comparison \
            finds.
            """)

    @Argument(help: "A checkpoint, an adapter or a training run.")
    var path: String

    @Argument(help: "Another one to compare with.")
    var other: String?

    @Option(
        help: ArgumentHelp(
            "List the tensors of this name, or all that a pattern such as '*.q_proj.*' matches; a summary unless given. "
                + "Also restricts what --stats, --checksum and a comparison look at.",
            valueName: "pattern"))
    var tensors: String?

    @Option(
        help: ArgumentHelp(
            "A base: say where an adapter's tensors would go in it, without merging. As with 'merge', a tensor that has "
                + "no place is an error. Nothing is placed unless given.",
            valueName: "base"))
    var against: String?

    @Flag(
        help: ArgumentHelp(
            "Read the tensors: min, max, mean, standard deviation (of the whole population), and how many values are NaN "
                + "or infinite.",
            discussion: "Blocks are decoded; NaN and infinities count in no other figure; sums are in double."))
    var stats = false

    @Flag(help: "Read the tensors: a digest of each, and one of all.")
    var checksum = false

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        if other != nil, stats || checksum {
            throw ValidationError("--stats and --checksum are for one path; with two, their tensors are compared")
        }
        if against != nil, other != nil || stats || checksum || tensors != nil {
            throw ValidationError("--against takes an adapter alone")
        }
    }

    func run() throws {
        if let against {
            let (account, head) = try placeAdapter(path, in: against)
            let lines = [MergeText.text(account)] + [head.map(MergeText.text)].compactMap { $0 }
            return show(json ? [MergeText.json(account).text(indent: 2)] : lines)
        }
        if let other {
            let comparison = try compareFiles(path, other, tensors: tensors)
            show(json ? [comparison.json.text(indent: 2)] : comparison.lines)
            return
        }
        let inspection = try inspectFiles(
            path, TensorRequest(pattern: tensors, statistics: stats, checksums: checksum))
        show(json ? [try inspection.json.text(indent: 2)] : InspectionText.lines(inspection))
    }

    private func show(_ lines: [String]) {
        Terminal.result(lines)
    }
}
