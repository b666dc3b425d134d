import Foundation
import TestSupport
import Testing

@testable import CheckpointIO

/// A block of an archive with changed bytes and a checksum that fits them.
private func header(_ name: String, _ byteCount: Int, _ change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
    var block = ArchiveHeader(name: "x", byteCount: byteCount).bytes
    for (index, byte) in name.utf8.enumerated() { block[index] = byte }
    change(&block)
    block.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
    let digits = Array(String(block.reduce(0) { $0 + Int($1) }, radix: 8).utf8)
    block.replaceSubrange(
        148..<156, with: [UInt8](repeating: UInt8(ascii: "0"), count: 6 - digits.count) + digits + [0, 0x20])
    return block
}

private let end = [UInt8](repeating: 0, count: 1024)

private func padded(_ content: [UInt8]) -> [UInt8] {
    content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
}

/// Opens an archive as a pack, and reads its files.
private func open(_ archive: [UInt8]) throws -> [String: [UInt8]] {
    try withTemporaryFolder { folder in
        let path = folder + "/x.tspeft.zst"
        try writeFile(path, Zstd.compress(archive))
        let pack = try FilePack.open(path)
        return Dictionary(
            uniqueKeysWithValues: try pack.entries.map { ($0.name, try pack.bytes($0.name, limit: 1 << 20)) })
    }
}

/// The sentence with which an archive is refused.
private func refusal(_ archive: [UInt8]) -> String {
    let error = #expect(throws: CheckpointError.self) { try open(archive) }
    #expect(error?.exitStatus == .badData)
    return error.map { "\($0)" } ?? "nothing"
}

@Suite struct FilePackTests {
    @Test func plainArchiveIsAPack() throws {
        let archive = header("a", 3) + padded([1, 2, 3]) + header("b.json", 0) + header("c", 512) + end
        #expect(refusal(archive).contains("byte 2560 of the archive"))
        let sound = header("a", 3) + padded([1, 2, 3]) + header("b.json", 0) + end
        #expect(try open(sound) == ["a": [1, 2, 3], "b.json": []])
        // GNU tar fills up a record.
        #expect(try open(sound + [UInt8](repeating: 0, count: 8192)).count == 2)
    }

    @Test(arguments: ["../a", "/etc/passwd", "a/b", "..", ".", "", "a b", "a\\b", "a\nb"])
    func nameThatIsNotPlainIsRefused(name: String) {
        var block = header(name, 0)
        if name.isEmpty { block = header("", 0) { $0[0] = 0 } }
        #expect(refusal(block + end).contains("not a plain file name"), "\(name)")
    }

    @Test func anythingButAPlainFileIsRefused() {
        for kind in "123456789xgLKSVDA" {
            let block = header("a", 0) { $0[156] = kind.asciiValue! }
            #expect(refusal(block + end).contains("something else than a plain file"), "\(kind)")
        }
        #expect(refusal(header("a", 0) { $0[157] = 0x61 } + end).contains("something else than a plain file"))
        #expect(refusal(header("a", 0) { $0[345] = 0x61 } + end).contains("not a plain file name"))
        #expect(refusal(header("a", 0) { $0[257] = 0 } + end).contains("is not the header of a POSIX archive"))
        #expect(refusal(header("a", 0) + header("a", 0) + end).contains("for the second time"))
        #expect(refusal(header("a", 0) { $0[124] = 0x80 } + end).contains("no sound size"))
        #expect(refusal(header("a", 1 << 33 - 1) + end).contains("more than there are"))
        #expect(refusal((0..<17).flatMap { header("f\($0)", 0) } + end).contains("all that a pack may have"))
        #expect(refusal(header("a", 0)).contains("the archive ends"))
        #expect(refusal(header("a", 0) + end.prefix(512)).contains("two blocks of zeros"))
        #expect(refusal(header("a", 0) + end + [1]).contains("two blocks of zeros"))
        #expect(refusal(end + [UInt8](repeating: 0, count: 1 << 20)).contains("two blocks of zeros"))
        var spoilt = header("a", 0)
        spoilt[0] = 0x62
        #expect(refusal(spoilt + end).contains("wrong checksum"))
        #expect(refusal([]).contains("archive ends"))
    }

    @Test func fileOfThePackIsReadWithoutTheOthers() throws {
        try withTemporaryFolder { folder in
            let contents: [(String, [UInt8])] = [
                ("large", [UInt8](repeating: 7, count: 3 << 20)), ("small.json", Array("{}".utf8)),
            ]
            for (name, bytes) in contents { try writeFile(folder + "/" + name, bytes) }
            let source = try readFile(fixture("tiny-llama/model.safetensors"))
            try writeFile(folder + "/m.safetensors", source)
            let path = folder + "/x.tspeft.zst"
            try FilePack.write(["large", "small.json", "m.safetensors"], in: folder, to: AtomicFileWriter(path))
            // The first frame of 'large' lies behind its header's.
            var spoilt = try readFile(path)
            let packed = try SeekableZstdFile(MappedFile.open(path))
            #expect(packed.contentRange(of: 1) == 512..<512 + 1 << 20)
            spoilt[80] ^= 0xFF
            try writeFile(path, spoilt)
            let pack = try FilePack.open(path)
            #expect(throws: CheckpointError.self) { try pack.bytes("large", limit: 8 << 20) }
            #expect(throws: CheckpointError.tooLarge(path: path + "/large", limit: 1 << 20)) {
                try pack.bytes("large", limit: 1 << 20)
            }
            #expect(throws: CheckpointError.missing(path: path + "/none")) { try pack.bytes("none", limit: 1) }
            #expect(try pack.bytes("small.json", limit: 2) == Array("{}".utf8))
            let (plain, tensors) = try (
                SafetensorsFile.open(folder + "/m.safetensors"), pack.safetensors("m.safetensors")
            )
            for tensor in plain.tensors {
                let found = try tensors.withBytes(of: tensor) { Array($0) }
                #expect(try found == plain.withBytes(of: tensor) { Array($0) })
            }
            let directory = try AtomicDirectory(folder + "/out")
            #expect(throws: CheckpointError.self) { try pack.unpack(into: directory) }
            directory.abandon()
            #expect(!pathExists(folder + "/out"))
        }
    }
}
