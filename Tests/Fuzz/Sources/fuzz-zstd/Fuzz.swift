import CheckpointIO
import FuzzSupport

/// The bytes as a Zstandard file with a safetensors file or an adapter in it; or, where they begin as no such file, as
/// the archive that a pack of an adapter holds, with the checksums of its headers put right, which no fuzzer finds.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let bytes = UnsafeRawBufferPointer(start: start, count: count)
            if isZstandard(bytes) {
                let path = placeInput(start, count, as: "input.zst") + "/input.zst"
                reading { try readTwice(path) }
                reading { try readPack(path) }
            } else {
                let pack = Zstd.compress(withChecksums(Array(bytes)), level: 1)
                let folder = pack.withUnsafeBufferPointer { placeInput($0.baseAddress, $0.count, as: "pack.zst") }
                reading { try readPack(folder + "/pack.zst") }
            }
            return 0
        }
    }
}

/// Whether the bytes begin with the magic number of a frame, or of one that is skipped.
private func isZstandard(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) || bytes.dropFirst().starts(with: [0x2A, 0x4D, 0x18])
}

/// Reads all tensors, lets go of them, and reads them again.
private func readTwice(_ path: String) throws {
    let file = try SafetensorsFile.open(path)
    try file.readEverything(file.tensors)
    for tensor in file.tensors { file.mapping(of: tensor).advise(tensor.byteRange, willNeed: false) }
    try file.readEverything(file.tensors)
}

private func readPack(_ path: String) throws {
    let pack = try FilePack.open(path)
    for entry in pack.entries {
        precondition(!entry.name.contains("/") && entry.name != "..", "a name that leads elsewhere")
        reading {
            let bytes = try pack.bytes(entry.name, limit: 1 << 20)
            precondition(bytes.count == entry.byteCount, "a file that is not whole")
        }
        reading {
            let file = try pack.safetensors(entry.name)
            try file.readEverything(file.tensors)
        }
    }
}

/// The archive with the right checksum in every block that looks like a header.
private func withChecksums(_ archive: [UInt8]) -> [UInt8] {
    var archive = archive
    for start in stride(from: 0, to: archive.count - 511, by: 512)
    where archive[start + 257..<start + 262].elementsEqual("ustar".utf8) {
        let field = start + 148..<start + 156
        archive.replaceSubrange(field, with: [UInt8](repeating: UInt8(ascii: " "), count: 8))
        let sum = archive[start..<start + 512].reduce(0) { $0 + Int($1) }
        let digits = Array(String(sum, radix: 8).utf8)
        let text = [UInt8](repeating: UInt8(ascii: "0"), count: 6 - digits.count) + digits + [0, 0x20]
        archive.replaceSubrange(field, with: text)
    }
    return archive
}
