import Glibc

/// Bytes of the regular file at `path`, links followed; nil where there is none.
package func fileSize(_ path: String) -> Int? {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int(status.st_size)
}
