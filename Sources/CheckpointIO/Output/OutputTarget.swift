/// Where an output goes and how it gets there: made once, by whoever was asked for the output, and handed down to what
/// writes it.
package struct OutputTarget: Sendable {
    /// The path that the output will have.
    package let path: String
    /// Whether an output that is there already is replaced at the end; otherwise it is an error.
    package let isReplacing: Bool
    /// Where it is given, nothing is written, but noted there.
    package let rehearsal: OutputRehearsal?

    /// A target; see the properties.
    package init(_ path: String, replacing: Bool = false, rehearsal: OutputRehearsal? = nil) {
        self.path = path
        isReplacing = replacing
        self.rehearsal = rehearsal
    }

    /// The same for another of the output's files.
    package func at(_ path: String) -> OutputTarget {
        OutputTarget(path, replacing: isReplacing, rehearsal: rehearsal)
    }
}
