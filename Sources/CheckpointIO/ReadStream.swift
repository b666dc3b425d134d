import Glibc

/// Standard input, to its end. Throws `tooLarge` past `limit` bytes, `unreadable`.
///
/// - Parameter name: what to call it in errors.
package func readStandardInput(name: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    try readStream(STDIN_FILENO, name: name, limit: limit)
}

/// The whole of a regular file, or what comes out of a pipe to its end. Throws as `readSmallFile`.
package func readFileOrPipe(_ path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    var status = stat()
    let isPipe = stat(path, &status) == 0 && [S_IFIFO, S_IFSOCK].contains(status.st_mode & S_IFMT)
    guard isPipe else { return try readSmallFile(path, limit: limit) }
    let descriptor = retryingOnInterrupt { open(path, O_RDONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
    defer { close(descriptor) }
    return try readStream(descriptor, name: path, limit: limit)
}

/// What a stream gives to its end.
private func readStream(_ descriptor: Int32, name: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    while true {
        let count = retryingOnInterrupt { read(descriptor, &chunk, chunk.count) }
        guard count >= 0 else { throw .unreadable(path: name, code: errno) }
        if count == 0 { return bytes }
        guard bytes.count + count <= limit else { throw .tooLarge(path: name, limit: limit) }
        bytes += chunk[..<count]
    }
}
