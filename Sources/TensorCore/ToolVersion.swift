/// The version of the program, as `--version` prints it and as output files record it.
package enum ToolVersion {
    /// Semantic version of this source tree.
    package static let current = "0.1.0"
}
