import Glibc
import TensorCore

/// Why a file cannot be read as what it should be, or an output cannot be written.
package enum CheckpointError: WordedError, Equatable {
    /// Nothing is at `path`.
    case missing(path: String)
    /// `path` exists, but the system refuses to open or read it; `code` is its errno.
    case unreadable(path: String, code: Int32)
    /// `path` is a directory, a device or a pipe where a regular file is needed.
    case notRegularFile(path: String)
    /// A directory holds no checkpoint; `hint` says what it holds instead, or what is needed.
    case noModel(directory: String, hint: Wording)
    /// A directory has a model's configuration but none of the files that could hold its weights.
    case missingWeights(directory: String, lookedFor: [String])
    /// The file breaks the rules of its format; `problem` says where and how.
    case malformed(file: String, problem: String)
    /// A tensor's entry or bytes are not as they must be.
    case badTensor(file: String, tensor: String, expected: String, found: String)
    /// A tensor that was asked for is not there.
    case missingTensor(file: String, tensor: String)
    /// The file is sound but needs something that is not built.
    case unsupported(file: String, problem: String)
    /// The tensor's elements cannot be decoded to numbers by this program.
    case unsupportedEncoding(file: String, tensor: String, encoding: String)
    /// A file, or what it unpacks to, is larger than this use allows; `limit` in bytes.
    case tooLarge(path: String, limit: Int)
    /// A mapped file lost the pages that were being read: it was cut short, or its disk failed.
    case inputLost(path: String)
    /// An input is not as it was when it was opened; `change` says what is different.
    case inputChanged(path: String, change: String)
    /// The output is there already and may not be replaced.
    case outputExists(path: String)
    /// The output cannot be made; `reason` says why.
    case cannotCreate(path: String, reason: String)
    /// Writing, syncing or renaming failed; `code` is the errno.
    case writeFailed(path: String, code: Int32)
    /// What was put aside while an output was replaced could not get its name back.
    case notPutBack(path: String, aside: String, code: Int32)

    package var wording: Wording {
        switch self {
        case .missing(let path): "\(path): no such file or directory"
        case .unreadable(let path, let code): "\(path): cannot be read: \(systemMessage(code))"
        case .notRegularFile(let path): "\(path): is not a regular file"
        case .noModel(let directory, let hint): "\(directory): holds no model: \(hint)"
        case .missingWeights(let directory, let names):
            "\(directory): has a model's config.json but no weights; looked for \(names.joined(separator: ", "))"
        case .malformed(let file, let problem): "\(file): \(problem)"
        case .badTensor(let file, let tensor, let expected, let found):
            "\(file): tensor '\(tensor)' \(found); \(expected)"
        case .missingTensor(let file, let tensor): "\(file): tensor '\(tensor)' is missing"
        case .unsupported(let file, let problem): "\(file): \(problem)"
        case .unsupportedEncoding(let file, let tensor, let encoding):
            "\(file): tensor '\(tensor)' is stored as \(encoding), which tspeft cannot decode; "
                + "it decodes floats from 16 bits on, signed integers and ggml's blocks"
        case .tooLarge(let path, let limit): "\(path): is larger than the \(limit) bytes allowed here"
        case .inputLost(let path): "\(path): was truncated or could not be read while in use"
        case .inputChanged(let path, let change):
            "\(path): was changed while in use: \(change); run again when it stays as it is"
        case .outputExists(let path):
            "\(path): exists already; remove it, choose another name or pass \(.replaces, true)"
        case .cannotCreate(let path, let reason): "\(path): cannot be created: \(reason)"
        case .writeFailed(let path, let code): "\(path): cannot be written: \(systemMessage(code))"
        case .notPutBack(let path, let aside, let code):
            "\(path): cannot be put back, its old contents are in \(aside): \(systemMessage(code))"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .missing, .missingWeights: .missingInput
        // Files in memory fall under the limit on the size of files too.
        case .unreadable(_, let code): code == EIO || code == EFBIG ? .inputOutput : .missingInput
        case .notRegularFile, .noModel, .malformed, .badTensor, .missingTensor, .tooLarge: .badData
        case .unsupported, .unsupportedEncoding: .unsupported
        case .outputExists, .cannotCreate: .cannotCreate
        case .inputLost, .inputChanged, .writeFailed, .notPutBack: .inputOutput
        }
    }
}

/// The system's words for an errno.
package func systemMessage(_ code: Int32) -> String {
    // glibc's strerror keeps its buffer per thread.
    String(cString: strerror(code))
}

/// The last part of a path, for messages that name one file of a known directory.
package func lastPathComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
}

/// `directory` and `name` joined by exactly one slash.
package func joinedPath(_ directory: String, _ name: String) -> String {
    directory.hasSuffix("/") ? directory + name : directory + "/" + name
}

/// The directory that holds `path`: `.` for a bare name, `/` for an entry of the root.
package func parentDirectory(of path: String) -> String {
    var parts = path.split(separator: "/")
    if !parts.isEmpty { parts.removeLast() }
    if path.hasPrefix("/") { return "/" + parts.joined(separator: "/") }
    return parts.isEmpty ? "." : parts.joined(separator: "/")
}
