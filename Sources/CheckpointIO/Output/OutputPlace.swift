import Glibc

/// Whether making `output` would destroy `input`, as files are told apart: by device and inode, whatever links lead
/// there.
///
/// True where they are the same file or directory; where `input`, by its name or with links followed, lies in the
/// directory `output`; and where `output` is a file of the directory `input`. A directory stands for the files in it
/// too, which may be links to files elsewhere, as in Hugging Face's cache. False where nothing is at `output` or
/// `input`.
package func wouldReplace(_ output: String, input: String) -> Bool {
    guard let made = FileIdentity(path: output), let read = FileIdentity(path: input) else { return false }
    if made.isSameFile(as: read) { return true }
    guard made.isDirectory || read.isDirectory else { return false }
    let files = read.isDirectory ? directoryEntries(input).map { joinedPath(input, $0) } : []
    if files.contains(where: { FileIdentity(path: $0)?.isSameFile(as: made) == true && !made.isDirectory }) {
        return true
    }
    guard made.isDirectory else { return false }
    let places = [parentDirectory(of: input), input] + files.filter { pathKind($0) == .regularFile }
    return places.contains { isPlaced($0, in: made) }
}

/// Whether `path`, links followed, is the directory `outer` or lies in it.
private func isPlaced(_ path: String, in outer: FileIdentity) -> Bool {
    guard let resolved = realpath(path, nil) else { return false }
    defer { free(resolved) }
    var place = String(cString: resolved)
    while true {
        if FileIdentity(path: place)?.isSameFile(as: outer) == true { return true }
        if place == "/" { return false }
        place = parentDirectory(of: place)
    }
}
