import Glibc
import TensorCore

/// Why a file cannot be read as what it should be, or an output cannot be written.
package enum CheckpointError: WordedError, Equatable {
    /// Nothing is at `path`.
    case missing(path: String)
    /// Nothing is at `path`, which looks like the name of a model on the Hugging Face Hub.
    case hubName(path: String)
    /// `path` is a pointer of Git LFS to a file of this size, which was not fetched.
    case largeFilePointer(path: String, size: String)
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
        case .hubName(let path):
            "\(path): no such file or directory; if it is a model on the Hugging Face Hub, download it with "
                + "'hf download \(path)' and name the folder that this prints"
        case .largeFilePointer(let path, let size):
            "\(path): is a Git LFS pointer and not the file that it stands for (\(size)); fetch that with 'git lfs pull'"
        case .unreadable(let path, let code): "\(path): cannot be read: \(systemMessage(code))"
        case .notRegularFile(let path):
            "\(path): is not a regular file" + (pathKind(path) == .directory ? ", but a directory; name a file" : "")
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
        case .missing, .missingWeights, .hubName, .largeFilePointer: .missingInput
        case .unreadable(_, let code): Self.diskFailures.contains(code) ? .inputOutput : .missingInput
        case .notRegularFile, .noModel, .malformed, .badTensor, .missingTensor, .tooLarge: .badData
        case .unsupported, .unsupportedEncoding: .unsupported
        case .outputExists, .cannotCreate: .cannotCreate
        case .inputLost, .inputChanged, .writeFailed, .notPutBack: .inputOutput
        }
    }
}

extension CheckpointError {
    /// The error for a path where nothing is: with the way to download it, where it looks like the name of a model or an
    /// adapter on the Hub and its first part is no folder here.
    package static func nothing(at path: String) -> CheckpointError {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        let endings = [".gguf", ".safetensors", ".zst", ".json", ".jsonl", ".bin", ".txt"]
        func isName(_ part: Substring) -> Bool {
            !part.isEmpty && !part.hasPrefix(".")
                && part.unicodeScalars.allSatisfy {
                    $0.isASCII && ($0.properties.isAlphabetic || "0123456789._-".unicodeScalars.contains($0))
                }
        }
        guard parts.count == 2, parts.allSatisfy(isName), !endings.contains(where: { path.hasSuffix($0) }),
            pathKind(String(parts[0])) == .nothing
        else { return .missing(path: path) }
        return .hubName(path: path)
    }
}

extension CheckpointError {
    /// What a disk or the system's limits say, rather than the path: a full quota among them, which may be met when what
    /// was just written is opened to be read. Files in memory fall under the limit on the size of files.
    private static let diskFailures: Set<Int32> = [
        EIO, EFBIG, ENOSPC, EDQUOT, ENOMEM, EMFILE, ENFILE, ETIMEDOUT, ESTALE,
    ]
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

/// The path from the root on, without `.` and `..`; links are not followed.
package func absolutePath(_ path: String) -> String {
    let start = path.utf8.first == UInt8(ascii: "/") ? nil : getcwd(nil, 0)
    defer { free(start) }
    var parts: [Substring] = []
    for part in joinedPath(start.map { String(cString: $0) } ?? "", path).split(separator: "/") {
        if part == ".." { _ = parts.popLast() } else if part != "." { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
}

/// The directory that holds `path`: `.` for a bare name, `/` for an entry of the root.
package func parentDirectory(of path: String) -> String {
    var parts = path.split(separator: "/")
    if !parts.isEmpty { parts.removeLast() }
    if path.hasPrefix("/") { return "/" + parts.joined(separator: "/") }
    return parts.isEmpty ? "." : parts.joined(separator: "/")
}
