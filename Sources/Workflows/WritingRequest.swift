import CheckpointIO

/// A request whose result goes to a place on the disk.
protocol WritingRequest {
    /// Where the result goes.
    var outputPath: String { get }
    /// Whether an existing output is replaced.
    var replaces: Bool { get }
}

extension WritingRequest {
    /// The place of the result; with `rehearsal`, nothing is written.
    func output(_ rehearsal: OutputRehearsal? = nil) -> OutputTarget {
        OutputTarget(outputPath, replacing: replaces, rehearsal: rehearsal)
    }
}

extension InjectRequest: WritingRequest {}
extension PruneRequest: WritingRequest {}
extension MergeRequest: WritingRequest {}
extension ExportRequest: WritingRequest {}
extension ConvertRequest: WritingRequest {}
