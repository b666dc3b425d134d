/// The version of the program, as `--version` prints it and as output files record it.
package enum ToolVersion {
    /// Semantic version of this source tree; nothing else in it says which.
    package static let current = "2.3.0"
}
