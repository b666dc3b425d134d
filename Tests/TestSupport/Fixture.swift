import Foundation

/// The root folder of the package.
package let packageRoot: String = {
    var parts = #filePath.split(separator: "/")
    parts.removeLast(3)
    return "/" + parts.joined(separator: "/")
}()

/// The path of a committed fixture, such as `fixture("tiny-llama/config.json")`.
package func fixture(_ path: String) -> String {
    packageRoot + "/Fixtures/" + path
}

/// Whether a file or folder exists.
package func pathExists(_ path: String) -> Bool {
    access(path, F_OK) == 0
}

/// An empty folder, which the caller removes.
package func makeTemporaryFolder() throws -> String {
    var template = Array("/tmp/tspeft-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TemporaryFolderError() }
    return template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
}

/// An empty folder of its own for one test, removed after `body`.
package func withTemporaryFolder<R>(_ body: (String) throws -> R) throws -> R {
    let path = try makeTemporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

/// No temporary folder could be made.
package struct TemporaryFolderError: Error {}

/// Removes a file; false if there was none.
package func removeFile(_ path: String) -> Bool { unlink(path) == 0 }

/// Makes `path` a symbolic link to `target`.
package func link(_ path: String, to target: String) throws {
    guard symlink(target, path) == 0 else { throw TemporaryFolderError() }
}
