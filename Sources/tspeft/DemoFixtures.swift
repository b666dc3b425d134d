import CheckpointIO
@preconcurrency import Glibc
import TSPEFT

/// Where the demo's model and data lie when the user names no folder.
struct DemoFixtures {
    /// The folder that the user's environment names; nil where it names none.
    var named: String?
    /// The running program's own file, links resolved; nil where the system does not tell.
    var program: String?
    /// The folder that the program was started in.
    var currentFolder: String?

    /// The environment variable that names the folder.
    static let variable = "TSPEFT_FIXTURES"

    /// Those of this process.
    static var ofProcess: DemoFixtures {
        DemoFixtures(
            named: getenv(variable).map { String(cString: $0) }, program: resolvedPath("/proc/self/exe"),
            currentFolder: resolvedPath("."))
    }

    /// The folder that the environment names, which must be one; else `share/tspeft` beside the program's folder, as
    /// packages install it; else `Fixtures` in a folder above the program, then above the current folder. Throws
    /// `missing`.
    func find() throws -> String {
        if let named, !named.isEmpty {
            if Self.isComplete(named) { return named }
            throw WorkflowError.missing(
                path: named, what: "\(Self.variable) names this folder, but it holds no tiny-llama and sst2")
        }
        let installed = program.map { joinedPath(parentDirectory(of: parentDirectory(of: $0)), "share/tspeft") }
        if let installed, Self.isComplete(installed) { return installed }
        for start in [program, currentFolder].compactMap({ $0 }) {
            var folder = start
            while folder != "/" {
                let candidate = joinedPath(folder, "Fixtures")
                if Self.isComplete(candidate) { return candidate }
                folder = parentDirectory(of: folder)
            }
        }
        let looked = installed.map { "; looked in \($0), and above the program and this folder for Fixtures" } ?? ""
        throw WorkflowError.missing(
            path: "Fixtures",
            what: """
                the demo's model and data were not found\(looked); name their folder with \(.fixtures) or \(Self.variable)
                """)
    }

    /// Whether a folder holds the demo's model and data.
    private static func isComplete(_ folder: String) -> Bool {
        ["tiny-llama/config.json", "sst2/train.json"].allSatisfy { access(joinedPath(folder, $0), R_OK) == 0 }
    }

    private static func resolvedPath(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }
}
