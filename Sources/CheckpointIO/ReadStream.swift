import Glibc

/// Standard input, to its end. Throws `tooLarge` past `limit` bytes, `unreadable`.
///
/// - Parameter name: what to call it in errors.
package func readStandardInput(name: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    try readStream(STDIN_FILENO, name: name, limit: limit)
}

/// The whole of a regular file, or what comes out of a pipe to its end. Throws as `readSmallFile`, and `malformed` for a
/// pipe that nothing opens for writing within `patience` seconds.
package func readFileOrPipe(
    _ path: String, limit: Int, patience: Double = 10
) throws(CheckpointError) -> [UInt8] {
    var status = stat()
    let isPipe = stat(path, &status) == 0 && [S_IFIFO, S_IFSOCK].contains(status.st_mode & S_IFMT)
    guard isPipe else { return try readSmallFile(path, limit: limit) }
    // Opening it to be waited for would wait for a writer that may never come.
    let descriptor = retryingOnInterrupt { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
    defer { close(descriptor) }
    let start = try waitForWriter(descriptor, path, patience: patience)
    return try readStream(descriptor, name: path, limit: limit, after: start)
}

/// Waits until something writes to a pipe that was opened without waiting, and lets reads wait from then on. Returns
/// what it read by that, which may be all.
private func waitForWriter(_ descriptor: Int32, _ path: String, patience: Double) throws(CheckpointError) -> [UInt8] {
    let start = ContinuousClock.now
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = retryingOnInterrupt { read(descriptor, &bytes, bytes.count) }
        if count > 0 || count < 0 && errno == EAGAIN {
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
            return Array(bytes.prefix(max(0, count)))
        }
        guard count == 0 else { throw .unreadable(path: path, code: errno) }
        guard ContinuousClock.now - start < .seconds(patience) else {
            throw .malformed(
                file: path, problem: "is a pipe that nothing writes to; start first what is to write to it")
        }
        usleep(10_000)
    }
}

/// What a stream gives to its end.
private func readStream(
    _ descriptor: Int32, name: String, limit: Int, after start: [UInt8] = []
) throws(CheckpointError) -> [UInt8] {
    var bytes = start
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    while true {
        let count = retryingOnInterrupt { read(descriptor, &chunk, chunk.count) }
        guard count >= 0 else { throw .unreadable(path: name, code: errno) }
        if count == 0 { return bytes }
        guard bytes.count + count <= limit else { throw .tooLarge(path: name, limit: limit) }
        bytes += chunk[..<count]
    }
}
