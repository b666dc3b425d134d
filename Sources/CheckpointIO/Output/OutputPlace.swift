import Glibc

/// Whether replacing what is at `output` would destroy `input`: they are the same file or directory, or `input` lies in
/// `output`. False where either does not exist.
package func wouldReplace(_ output: String, input: String) -> Bool {
    guard let input = realpath(input, nil) else { return false }
    defer { free(input) }
    guard let output = realpath(output, nil) else { return false }
    defer { free(output) }
    var (left, right) = (stat(), stat())
    if stat(input, &left) == 0, stat(output, &right) == 0, left.st_dev == right.st_dev, left.st_ino == right.st_ino {
        return true
    }
    return String(cString: input).hasPrefix(String(cString: output) + "/")
}
