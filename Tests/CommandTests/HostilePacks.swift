import Foundation
import TestSupport

@testable import CheckpointIO

/// Archives as the packs of adapters hold them, and frames with seek tables, sound or not.
private enum Packs {
    static let configuration = "adapter_config.json"
    static let tensors = "adapter_model.safetensors"
    private static let end = [UInt8](repeating: 0, count: 1024)

    /// A file of an archive; `change` spoils its header, whose checksum then fits again.
    static func file(_ name: String, _ content: [UInt8], _ change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
        let padding = (512 - content.count % 512) % 512
        return header(name, content.count, change) + content + [UInt8](repeating: 0, count: padding)
    }

    static func header(_ name: String, _ byteCount: Int, _ change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
        var block = ArchiveHeader(name: "x", byteCount: byteCount).bytes
        for (index, byte) in name.utf8.enumerated() { block[index] = byte }
        change(&block)
        block.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
        let digits = Array(String(block.reduce(0) { $0 + Int($1) }, radix: 8).utf8)
        block.replaceSubrange(
            148..<156, with: [UInt8](repeating: UInt8(ascii: "0"), count: 6 - digits.count) + digits + [0, 0x20])
        return block
    }

    /// The files of the trained adapter as an archive, with these instead of its own, and more behind them.
    static func adapter(replacing: [String: [UInt8]?] = [:], adding: [UInt8] = []) throws -> [UInt8] {
        let tuned = try TinyRun.shared.get().path("tuned")
        var archive: [UInt8] = []
        for name in [configuration, "tspeft.json", "README.md", tensors, "tspeft_statistics.safetensors"] {
            guard let content = try replacing[name] ?? readFile(tuned + "/" + name) else { continue }
            archive += file(name, content)
        }
        return archive + adding + end
    }

    /// One frame with its content's size and a checksum.
    static func frame(_ content: [UInt8]) -> [UInt8] {
        content.withUnsafeBytes { FramePacker(level: 1).frame($0) }
    }

    /// Content in frames of at most `frameSize` bytes with a seek table, as `convert` writes it.
    static func frames(_ content: [UInt8], frameSize: Int = 1 << 20) -> (frames: [[UInt8]], entries: [SeekTable.Entry])
    {
        var result: (frames: [[UInt8]], entries: [SeekTable.Entry]) = ([], [])
        for start in stride(from: 0, to: content.count, by: frameSize) {
            let part = Array(content[start..<min(start + frameSize, content.count)])
            result.frames.append(Packs.frame(part))
            result.entries.append(entry(result.frames.last!, part.count))
        }
        return result
    }

    static func entry(_ frame: [UInt8], _ unpacked: Int) -> SeekTable.Entry {
        let checksum = frame.suffix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return .init(packed: UInt32(frame.count), unpacked: UInt32(unpacked), checksum: checksum)
    }

    static func seekable(_ content: [UInt8]) -> [UInt8] {
        let (frames, entries) = frames(content)
        return frames.flatMap(\.self) + SeekTable.bytes(entries)
    }

    /// `content`, then `count` frames of `size` zeros each, and one of the 1024 that end an archive: gigabytes in a few
    /// kilobytes.
    static func zeros(after content: [UInt8], count: Int, size: Int) -> [UInt8] {
        var (frames, entries) = frames(content)
        let frame = Packs.frame([UInt8](repeating: 0, count: size))
        frames += Array(repeating: frame, count: count)
        entries += Array(repeating: entry(frame, size), count: count)
        let last = self.frames(end)
        (frames, entries) = (frames + last.frames, entries + last.entries)
        return frames.flatMap(\.self) + SeekTable.bytes(entries)
    }

    /// A small model's tensor.
    static let model = safetensorsFile(
        header: #"{"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}"#, data: [UInt8](repeating: 7, count: 64))

    static let otherAdapter = safetensorsFile(
        header: #"{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#, data: [UInt8](repeating: 0, count: 64))

    static func spoilt(_ bytes: [UInt8], fromEnd place: Int, _ value: UInt8) -> [UInt8] {
        var bytes = bytes
        bytes[bytes.count - place] = value
        return bytes
    }
}

extension Hostile {
    private static func pack(
        _ name: String, _ words: String..., status: Int32 = 65, bytes: @escaping @Sendable () throws -> [UInt8]
    ) -> Hostile {
        Hostile(name, ending: ".tspeft.zst", status, words, bytes: bytes)
    }

    private static func pack(
        _ name: String, _ words: String..., status: Int32 = 65, archive: @escaping @Sendable () throws -> [UInt8]
    ) -> Hostile {
        Hostile(name, ending: ".tspeft.zst", status, words, bytes: { Packs.seekable(try archive()) })
    }

    /// Packs of adapters.
    static let packs: [Hostile] = [
        pack("empty pack", "x.tspeft.zst", bytes: { [] }),
        pack("pack of four bytes", "x.tspeft.zst", bytes: { [0x28, 0xB5, 0x2F, 0xFD] }),
        pack("pack that is text", "x.tspeft.zst", bytes: { Array("{\"r\": 8}".utf8) }),
        pack(
            "pack that is cut in its seek table", "x.tspeft.zst",
            bytes: {
                try Packs.seekable(Packs.adapter()).dropLast()
            }),
        pack(
            "pack that is cut in its frames", "x.tspeft.zst",
            bytes: {
                let whole = try Packs.seekable(Packs.adapter())
                return Array(whole.prefix(whole.count / 2))
            }),
        pack(
            "seek table of 2^32 - 1 frames", "names 4294967295 frames",
            bytes: {
                var bytes = try Packs.seekable(Packs.adapter())
                bytes.replaceSubrange(bytes.count - 9..<bytes.count - 5, with: [0xFF, 0xFF, 0xFF, 0xFF])
                return bytes
            }),
        pack(
            "seek table with reserved bits", "reserved bits",
            bytes: {
                try Packs.spoilt(Packs.seekable(Packs.adapter()), fromEnd: 5, 0x84)
            }),
        pack(
            "seek table that covers less", "x.tspeft.zst: its seek table",
            bytes: {
                try [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0] + Packs.seekable(Packs.adapter())
            }),
        pack(
            "seek table of another file", "x.tspeft.zst: its seek table",
            bytes: {
                let (frames, _) = try Packs.frames(Packs.adapter())
                return frames.flatMap(\.self) + SeekTable.bytes(Packs.frames(Packs.model).entries)
            }),
        pack(
            "bytes after the seek table", "x.tspeft.zst",
            bytes: {
                try Packs.seekable(Packs.adapter()) + [1, 2, 3]
            }),
        pack(
            "frame of 4 GiB less one by the table", "more than the",
            bytes: {
                var (frames, entries) = try Packs.frames(Packs.adapter())
                entries[0] = .init(packed: entries[0].packed, unpacked: .max, checksum: entries[0].checksum)
                frames[0] = frames[0]
                return frames.flatMap(\.self) + SeekTable.bytes(entries)
            }),
        pack(
            "frame that holds more than the table says", "cannot be unpacked",
            bytes: {
                let (_, entries) = try Packs.frames(Packs.adapter(), frameSize: 4096)
                let frame = Packs.frame([UInt8](repeating: 0, count: 64 << 20))
                let all = entries.map { Packs.entry(frame, Int($0.unpacked)) }
                return all.flatMap { _ in frame } + SeekTable.bytes(all)
            }),
        pack(
            "bomb without a seek table", "seek table", status: 69,
            bytes: {
                let frame = Packs.frame([UInt8](repeating: 0, count: 64 << 20))
                return frame + frame
            }),
        pack(
            "bomb of zeros with a seek table", "two blocks of zeros",
            bytes: {
                Packs.zeros(after: [], count: 20_000, size: 4 << 20)
            }),
        pack(
            "bomb behind a sound archive", "two blocks of zeros",
            bytes: {
                Packs.zeros(after: try Packs.adapter(), count: 20_000, size: 4 << 20)
            }),
        pack(
            "configuration that unpacks to 8 GiB less one", "larger than",
            bytes: {
                let content = Packs.header(Packs.configuration, 1 << 33 - 1)
                return Packs.zeros(after: content, count: 2048, size: 4 << 20)
            }),
        pack(
            "tensors that unpack to 8 GiB less one", "no trained weights pack so", status: 69,
            bytes: {
                let text = try readFile(TinyRun.shared.get().path("tuned/" + Packs.configuration))
                let content = Packs.file(Packs.configuration, text) + Packs.header(Packs.tensors, 1 << 33 - 512)
                return Packs.zeros(after: content, count: 2048, size: 4 << 20)
            }),
        pack("no archive", "is not the header of a POSIX archive", archive: { [UInt8](repeating: 1, count: 4096) }),
        pack("archive of nothing", "adapter_config.json", status: 66, archive: { [UInt8](repeating: 0, count: 1024) }),
        pack("archive that ends early", "the archive ends", archive: { try Packs.adapter().dropLast(1024) }),
        pack("bytes after the archive", "two blocks of zeros", archive: { try Packs.adapter() + [1] }),
        pack(
            "member that leads upwards", "'../../up'", "not a plain file name",
            archive: {
                try Packs.adapter(adding: Packs.file("../../up", [1]))
            }),
        pack(
            "member that leads away", "'/tmp/away'", "not a plain file name",
            archive: {
                try Packs.adapter(adding: Packs.file("/tmp/away", [1]))
            }),
        pack(
            "member in a directory", "'a/b'", "not a plain file name",
            archive: {
                try Packs.adapter(adding: Packs.file("a/b", [1]))
            }),
        pack(
            "member with a prefix that leads away", "not a plain file name",
            archive: {
                try Packs.adapter(adding: Packs.file("a", [1]) { $0.replaceSubrange(345..<349, with: "/tmp".utf8) })
            }),
        pack(
            "member twice", "'adapter_config.json' for the second time",
            archive: {
                try Packs.adapter(adding: Packs.file(Packs.configuration, []))
            }),
        pack(
            "member that is a link", "something else than a plain file",
            archive: {
                try Packs.adapter(
                    adding: Packs.file("a", []) {
                        $0[156] = UInt8(ascii: "2")
                        $0.replaceSubrange(157..<168, with: "/etc/passwd".utf8)
                    })
            }),
        pack(
            "member that is a device", "something else than a plain file",
            archive: {
                try Packs.adapter(adding: Packs.file("a", []) { $0[156] = UInt8(ascii: "3") })
            }),
        pack(
            "member of 8 GiB less one that is not there", "more than there are",
            archive: {
                try Packs.adapter(adding: Packs.header("a", 1 << 33 - 1))
            }),
        pack(
            "member whose size is binary", "no sound size",
            archive: {
                try Packs.adapter(adding: Packs.file("a", []) { $0[124] = 0x80 })
            }),
        pack(
            "too many members", "all that a pack may have",
            archive: {
                try Packs.adapter(adding: (0..<17).flatMap { Packs.file("f\($0)", []) })
            }),
        pack(
            "pack without a configuration", "adapter_config.json", status: 66,
            archive: {
                try Packs.adapter(replacing: [Packs.configuration: nil])
            }),
        pack(
            "pack without tensors", "adapter_model.safetensors", status: 66,
            archive: {
                try Packs.adapter(replacing: [Packs.tensors: nil])
            }),
        pack(
            "configuration nested for ever", "nested deeper",
            archive: {
                try Packs.adapter(replacing: [Packs.configuration: [UInt8](repeating: 0x5B, count: 2_000_000)])
            }),
        pack(
            "configuration of 33 MiB of spaces", "is larger than",
            archive: {
                try Packs.adapter(replacing: [Packs.configuration: [UInt8](repeating: 0x20, count: 33 << 20)])
            }),
        pack(
            "record nested for ever", "nested deeper",
            archive: {
                try Packs.adapter(replacing: ["tspeft.json": [UInt8](repeating: 0x5B, count: 2_000_000)])
            }),
        pack(
            "tensors with a header of 2^63 bytes", "9223372036854775808",
            archive: {
                try Packs.adapter(replacing: [Packs.tensors: GGUFBuilder.bytes(UInt64(1) << 63) + Array("{}".utf8)])
            }),
    ]

    /// The tensors of another adapter: a merge, which takes more than linear layers, misses those that there should be;
    /// a conversion, which takes no more, refuses those that there are.
    static let foreignPacks = [
        ("inspect X.tspeft.zst", Int32(65), "is missing"),
        ("merge BASE --adapter X.tspeft.zst -o new", 65, "is missing"),
        ("convert X.tspeft.zst -o new", 69, "is not a tensor of the method lora"),
    ].map { command, status, words in
        Hostile("tensors of another adapter", command, status, ["x.tspeft.zst", words]) { path in
            let adapter = try Packs.adapter(replacing: [Packs.tensors: Packs.otherAdapter])
            try writeFile(path + ".tspeft.zst", Packs.seekable(adapter))
        }
    }

    private static func packed(
        _ name: String, _ words: String..., status: Int32 = 65, needsRelease: Bool = false,
        bytes: @escaping @Sendable () throws -> [UInt8]
    ) -> Hostile {
        Hostile(name, ending: ".safetensors.zst", status, words, needsRelease: needsRelease, bytes: bytes)
    }

    /// Packed models that are refused when they are opened.
    static let packedModels: [Hostile] = [
        packed("empty packed model", "x.safetensors.zst", bytes: { [] }),
        packed("packed model that is text", "the header's length", bytes: { Array("{}{}{}{}".utf8) }),
        packed("packed model that is cut", "x.safetensors.zst", bytes: { Packs.seekable(Packs.model).dropLast() }),
        packed(
            "packed model without its last frame", "x.safetensors.zst",
            bytes: {
                let (frames, entries) = Packs.frames(Packs.model, frameSize: 80)
                return frames.dropLast().flatMap(\.self) + SeekTable.bytes(entries)
            }),
        packed(
            "packed model with bytes behind it", "x.safetensors.zst",
            bytes: {
                Packs.seekable(Packs.model) + [0]
            }),
        packed(
            "bomb in place of a model", "header",
            bytes: {
                Packs.zeros(after: [], count: 60, size: 64 << 20)
            }),
        packed(
            "bomb without a seek table in place of a model", "seek table", status: 69,
            bytes: {
                let frame = Packs.frame([UInt8](repeating: 0, count: 64 << 20))
                return frame + frame
            }),
        packed(
            "packed header of 100 MB of spaces", "text after the object", needsRelease: true,
            bytes: {
                let length = 100_000_000
                var content = GGUFBuilder.bytes(UInt64(length)) + Array("{}".utf8)
                content += [UInt8](repeating: 0x20, count: length - 3) + [0x78]
                return Packs.seekable(content)
            }),
        packed(
            "packed header of 2^63 bytes", "9223372036854775808",
            bytes: {
                Packs.seekable(GGUFBuilder.bytes(UInt64(1) << 63) + Array("{}".utf8))
            }),
        packed(
            "packed model with a hole", "leaves a hole",
            bytes: {
                Packs.seekable(
                    safetensorsFile(header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, data: [0, 0]))
            }),
    ]

    private init(
        _ name: String, ending: String, _ status: Int32, _ words: [String], needsRelease: Bool = false,
        bytes: @escaping @Sendable () throws -> [UInt8]
    ) {
        self.init(name, "inspect X" + ending, status, words, needsRelease: needsRelease) {
            try writeFile($0 + ending, bytes())
        }
    }
}
