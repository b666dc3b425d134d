import Glibc

/// The names in a directory, sorted, without `.` and `..`; none where it cannot be read.
package func directoryEntries(_ path: String) -> [String] { (try? readDirectory(path)) ?? [] }

/// The names in a directory, sorted, without `.` and `..`. Throws `unreadable`, so that a disk that fails does not pass
/// for a directory with less in it.
package func readDirectory(_ path: String) throws(CheckpointError) -> [String] {
    let descriptor = retryingOnInterrupt { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
    defer { close(descriptor) }
    return try entryNames(descriptor, path: path).map { name in
        name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }.sorted()
}

/// The names in an open directory as the system has them, each with the zero at its end, without `.` and `..`. Throws
/// `unreadable` for `path`.
func entryNames(_ descriptor: Int32, path: String) throws(CheckpointError) -> [[CChar]] {
    let copy = dup(descriptor)
    guard copy >= 0, let directory = fdopendir(copy) else {
        let code = errno
        if copy >= 0 { close(copy) }
        throw .unreadable(path: path, code: code)
    }
    defer { closedir(directory) }
    var names: [[CChar]] = []
    while true {
        // The end and a failure both give nothing.
        errno = 0
        guard let entry = readdir(directory) else {
            guard errno == 0 else { throw .unreadable(path: path, code: errno) }
            return names
        }
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) {
                [CChar](UnsafeBufferPointer(start: $0, count: strlen($0) + 1))
            }
        }
        let dot = CChar(UInt8(ascii: "."))
        if name != [dot, 0], name != [dot, dot, 0] { names.append(name) }
    }
}

/// What to do about a folder of the Hugging Face cache (`models--organization--name`, or `snapshots` in it) that was
/// named in place of a snapshot; nil for another folder.
package func cacheFolderRemedy(_ directory: String) -> String? {
    let name = "snapshots"
    let isInside = lastPathComponent(directory) == name
    let folder = isInside ? parentDirectory(of: directory) : directory
    let snapshots = isInside ? directory : joinedPath(directory, name)
    let isNamedSo = lastPathComponent(folder).split(separator: "--", omittingEmptySubsequences: false).count > 2
    guard pathKind(snapshots) == .directory, isNamedSo || pathKind(joinedPath(folder, "refs")) == .directory else {
        return nil
    }
    let found = directoryEntries(snapshots).sorted().prefix(3).map { joinedPath(snapshots, $0) }
    return "it is a folder of the Hugging Face cache; name a snapshot in it: "
        + (found.isEmpty ? "none was downloaded" : found.joined(separator: ", "))
}
