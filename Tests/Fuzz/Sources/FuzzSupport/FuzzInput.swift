import CFuzzer
import CheckpointIO
import Glibc
import TensorCore

/// The folder that inputs are put into, best in memory; it belongs to this process.
private let folder: String = {
    guard let path = getenv("TSPEFT_FUZZ_FOLDER").map({ String(cString: $0) }), pathKind(path) == .directory else {
        fatalError("TSPEFT_FUZZ_FOLDER must name an empty directory")
    }
    return path
}()

/// Elements of a tensor up to which it is decoded.
package let decodedElementLimit = 1 << 16

/// Hands the program's arguments and what is to be tried to libFuzzer, which ends the process.
package func fuzz(_ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt) -> Never {
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    exit(LLVMFuzzerRunDriver(&count, &arguments, test))
}

/// Writes `count` bytes to the file `name` in a folder of the process's own; the folder.
package func placeInput(_ start: UnsafePointer<UInt8>?, _ count: Int, as name: String) -> String {
    place(UnsafeRawBufferPointer(start: start, count: count), as: name)
}

/// Writes bytes to the file `name` in the same folder; the folder.
package func placeBytes(_ bytes: [UInt8], as name: String) -> String {
    bytes.withUnsafeBytes { place($0, as: name) }
}

/// Copies a file of the repository's `Fixtures` into the folder that the input is in, once.
package func placeFixture(_ path: String, as name: String) -> String {
    let target = folder + "/" + name
    if pathKind(target) == .nothing {
        guard let root = getenv("TSPEFT_FIXTURES"),
            let bytes = try? readSmallFile(String(cString: root) + "/" + path, limit: 1 << 26)
        else { fatalError("TSPEFT_FIXTURES must name the repository's Fixtures") }
        _ = bytes.withUnsafeBytes { place($0, as: name) }
    }
    return folder
}

private func place(_ bytes: UnsafeRawBufferPointer, as name: String) -> String {
    let path = folder + "/" + name
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard file >= 0, write(file, bytes.baseAddress, bytes.count) == bytes.count else {
        fatalError("\(path): cannot be written")
    }
    close(file)
    return folder
}

/// Runs `body`, which reads hostile input: it must succeed, or throw an error that says something to the user.
package func reading(_ body: () throws -> Void) {
    do {
        try body()
    } catch let error as any ReportableError {
        precondition(!error.description.isEmpty, "an error without words")
    } catch {
        fatalError("an error that no user can be told: \(error)")
    }
}

extension TensorSource {
    /// Reads the bytes of every tensor, and decodes those that are small and can be.
    package func readEverything(_ tensors: [TensorRecord]) throws {
        var sum: UInt8 = 0
        for record in tensors {
            try withBytes(of: record) { bytes in
                precondition(bytes.count == record.byteCount, "a record whose bytes are not there")
                for index in stride(from: 0, to: bytes.count, by: 4096) { sum ^= bytes[index] }
            }
            if record.encoding.isReadable, record.elementCount <= decodedElementLimit {
                let values = try floats(of: record)
                precondition(values.count == record.elementCount)
            }
        }
        sink = sum
    }
}

/// Where sums go, so that no compiler leaves the reading out.
package nonisolated(unsafe) var sink: UInt8 = 0
