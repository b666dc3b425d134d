import CheckpointIO
import Glibc
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Random trees of tensors, converted there and back; the seed of a failure is its test's argument.
@Suite struct ConversionPropertyTests {
    /// A tensor of a random tree.
    private struct Leaf {
        let name: String
        let encoding: TensorEncoding
        let shape: [Int]
        let bytes: [UInt8]
    }

    /// Tensors of random names, shapes (empty ones and scalars too), types and bytes.
    private static func tree(_ random: inout RandomStream, types: [TensorEncoding]) -> [Leaf] {
        (0..<1 + random.nextIndex(below: 24)).map { index in
            let type = types[random.nextIndex(below: types.count)]
            var shape = (0..<random.nextIndex(below: 4)).map { _ in random.nextIndex(below: 9) }
            if type.plainType == nil {
                // Rows of one or two blocks.
                shape = shape.dropLast() + [(1 + random.nextIndex(below: 2)) * type.group.elements]
            }
            let count = shape.reduce(1, *) / type.group.elements * type.group.bytes
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.nextIndex(below: 256)) }
            let letters = (0..<random.nextIndex(below: 20)).map { _ in
                ["a", "Z", "0", ".", "_", "/", " ", "\"", "\\", "\n", "é", "漢", "\u{1F642}", "e\u{301}"][
                    random.nextIndex(below: 14)]
            }
            let name = letters.joined() + "\(index)"
            return Leaf(name: name, encoding: type, shape: shape, bytes: bytes)
        }
    }

    private static func writeDirectory(_ leaves: [Leaf], to folder: String) throws {
        mkdir(folder, 0o777)
        let entries = leaves.compactMap { leaf in
            leaf.encoding.plainType.map { SafetensorsEntry(name: leaf.name, dtype: $0, shape: leaf.shape) }
        }
        let writer = try SafetensorsWriter(AtomicFileWriter(folder + "/model.safetensors"), entries: entries)
        for leaf in leaves { try leaf.bytes.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }

    private static func writeGGUF(_ leaves: [Leaf], to path: String) throws {
        let entries = leaves.map { GGUFEntry(name: $0.name, encoding: $0.encoding, shape: $0.shape) }
        let metadata: [(key: String, value: GGUFEncodedValue)] = [
            ("general.architecture", .string("tree")), ("tree.deep", .array([.uint8(3), .uint8(9)])),
            ("general.alignment", .uint32(64)),
        ]
        let writer = try GGUFWriter(AtomicFileWriter(path), metadata: metadata, entries: entries)
        for leaf in leaves { try leaf.bytes.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }

    private func expect(_ path: String, holds leaves: [Leaf]) throws {
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.tensors.count == leaves.count)
        for leaf in leaves {
            let record = try checkpoint.requiredRecord(leaf.name)
            #expect(record.encoding == leaf.encoding && record.shape == leaf.shape, "\(leaf.name)")
            let isSame = try bytes(checkpoint, leaf.name) == leaf.bytes
            #expect(isSame, "\(leaf.name)")
        }
    }

    private func convert(_ input: String, to output: String, type: String? = nil, limit: Int? = nil) throws {
        let format: CheckpointConversion.Format =
            output.hasSuffix(".gguf")
            ? .gguf
            : output.hasSuffix(".safetensors")
                ? .safetensors : output.hasSuffix(".zst") ? .safetensorsZstd : .huggingFace
        try CheckpointConversion(
            try Checkpoint.open(input), to: format, at: output, type: type.flatMap(QuantizationMix.init(named:)),
            shardByteLimit: limit
        ).write(threadCount: 1 + (limit ?? 0) % 3)
    }

    @Test(arguments: 100..<125) func shardsOfAnySizeJoinToTheSameBytes(seed: UInt64) throws {
        var random = RandomStream(seed: seed)
        try withTemporaryFolder { folder in
            let leaves = Self.tree(&random, types: DType.allCases.map { .plain($0) })
            try Self.writeDirectory(leaves, to: folder + "/in")
            let limit = 1 + random.nextIndex(below: 1 << (1 + random.nextIndex(below: 12)))
            try convert(folder + "/in", to: folder + "/shards", limit: limit)
            try expect(folder + "/shards", holds: leaves)
            try convert(folder + "/shards", to: folder + "/again", limit: 1 + random.nextIndex(below: 3000))
            try expect(folder + "/again", holds: leaves)
            try convert(folder + "/again", to: folder + "/one.safetensors")
            try expect(folder + "/one.safetensors", holds: leaves)
            // Packed from shards and from one file, and unpacked.
            for input in ["again", "one.safetensors"] {
                let (packed, unpacked) = (folder + "/packed.safetensors.zst", folder + "/unpacked.safetensors")
                try convert(folder + "/" + input, to: packed)
                try expect(packed, holds: leaves)
                try convert(packed, to: unpacked)
                #expect(try readFile(unpacked) == readFile(folder + "/one.safetensors"))
                #expect(removeFile(packed) && removeFile(unpacked))
            }
            // What does not change is the same file.
            try convert(folder + "/in", to: folder + "/copy")
            #expect(try readFile(folder + "/copy/model.safetensors") == readFile(folder + "/in/model.safetensors"))
        }
    }

    @Test(arguments: 200..<225) func splitsOfAnySizeJoinToTheSameBytes(seed: UInt64) throws {
        var random = RandomStream(seed: seed)
        try withTemporaryFolder { folder in
            let plain: [DType] = [.f32, .f16, .bf16, .f64, .i8, .i16, .i32, .i64]
            let types = plain.map { TensorEncoding.plain($0) } + GGMLBlockFormat.known.map { .block($0) }
            let leaves = Self.tree(&random, types: types)
            try Self.writeGGUF(leaves, to: folder + "/in.gguf")
            let limit = 1 + random.nextIndex(below: 1 << (1 + random.nextIndex(below: 12)))
            try convert(folder + "/in.gguf", to: folder + "/out.gguf", limit: limit)
            let parts = try names(in: folder).filter { $0.hasPrefix("out") }
            try expect(folder + "/" + parts[random.nextIndex(below: parts.count)], holds: leaves)
            try convert(folder + "/" + parts[0], to: folder + "/joined.gguf")
            #expect(try readFile(folder + "/joined.gguf") == readFile(folder + "/in.gguf"))
        }
    }

    @Test(arguments: 300..<320) func widerTypesAndBackIsTheSame(seed: UInt64) throws {
        var random = RandomStream(seed: seed)
        try withTemporaryFolder { folder in
            // A signalling NaN becomes a quiet one on its way, so numbers only.
            let types = [DType.bf16, .i32, .u8, .f8e4m3].map { TensorEncoding.plain($0) }
            let leaves = Self.tree(&random, types: types).map { leaf -> Leaf in
                guard leaf.encoding == .plain(.bf16) else { return leaf }
                let bytes = leaf.bytes.enumerated().map { $0 % 2 == 1 ? $1 & 0xBF : $1 }
                return Leaf(name: leaf.name, encoding: leaf.encoding, shape: leaf.shape, bytes: bytes)
            }
            try Self.writeDirectory(leaves, to: folder + "/in")
            try convert(folder + "/in", to: folder + "/wide", type: "f32", limit: 1 + random.nextIndex(below: 2000))
            let wide = try Checkpoint.open(folder + "/wide")
            for leaf in leaves {
                let expected: TensorEncoding = leaf.encoding == .plain(.bf16) ? .plain(.f32) : leaf.encoding
                #expect(wide.record(leaf.name)?.encoding == expected)
            }
            try convert(folder + "/wide", to: folder + "/back", type: "bf16")
            try expect(folder + "/back", holds: leaves)
        }
    }
}
