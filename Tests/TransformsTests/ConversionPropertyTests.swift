import CheckpointIO
import Glibc
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Random trees of tensors, converted there and back.
@Suite struct ConversionPropertyTests {
    /// A tensor of a random tree.
    private struct Leaf {
        let name: String
        let encoding: TensorEncoding
        let shape: [Int]
        let bytes: [UInt8]
    }

    /// Tensors of random names, shapes (empty ones and scalars too), plain types and bytes.
    private static func tree(_ random: inout RandomStream, types: [DType]) -> [Leaf] {
        (0..<1 + random.nextIndex(below: 24)).map { index in
            let type = types[random.nextIndex(below: types.count)]
            let shape = (0..<random.nextIndex(below: 4)).map { _ in random.nextIndex(below: 9) }
            let count = shape.reduce(1, *) * type.byteCount
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.nextIndex(below: 256)) }
            let name = ["a", "layer.\(index)", "x é 漢", "\u{1F642}", ""][random.nextIndex(below: 5)]
            return Leaf(name: "\(name).\(index)", encoding: .plain(type), shape: shape, bytes: bytes)
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
            output.hasSuffix(".gguf") ? .gguf : output.hasSuffix(".safetensors") ? .safetensors : .huggingFace
        try CheckpointConversion(
            try Checkpoint.open(input), to: format, at: output, type: type.flatMap(QuantizationMix.init(named:)),
            shardByteLimit: limit
        ).write(threadCount: 1 + (limit ?? 0) % 3)
    }

    @Test func shardsOfAnySizeJoinToTheSameBytes() throws {
        var random = RandomStream(seed: 41)
        for round in 0..<25 {
            try withTemporaryFolder { folder in
                let leaves = Self.tree(&random, types: DType.allCases)
                try Self.writeDirectory(leaves, to: folder + "/in")
                let limit = 1 + random.nextIndex(below: 1 << (1 + round % 12))
                try convert(folder + "/in", to: folder + "/shards", limit: limit)
                try expect(folder + "/shards", holds: leaves)
                try convert(folder + "/shards", to: folder + "/again", limit: 1 + random.nextIndex(below: 3000))
                try expect(folder + "/again", holds: leaves)
                try convert(folder + "/again", to: folder + "/one.safetensors")
                try expect(folder + "/one.safetensors", holds: leaves)
                // What does not change is the same file.
                try convert(folder + "/in", to: folder + "/copy")
                #expect(
                    try readFile(folder + "/copy/model.safetensors") == readFile(folder + "/in/model.safetensors"))
            }
        }
    }

    @Test func splitsOfAnySizeJoinToTheSameBytes() throws {
        var random = RandomStream(seed: 42)
        for round in 0..<25 {
            try withTemporaryFolder { folder in
                let plain: [DType] = [.f32, .f16, .bf16, .f64, .i8, .i16, .i32, .i64]
                let leaves = Self.tree(&random, types: plain)
                try Self.writeGGUF(leaves, to: folder + "/in.gguf")
                let limit = 1 + random.nextIndex(below: 1 << (1 + round % 12))
                try convert(folder + "/in.gguf", to: folder + "/out.gguf", limit: limit)
                let parts = try names(in: folder).filter { $0.hasPrefix("out") }
                try expect(folder + "/" + parts[random.nextIndex(below: parts.count)], holds: leaves)
                try convert(folder + "/" + parts[0], to: folder + "/joined.gguf")
                #expect(try readFile(folder + "/joined.gguf") == readFile(folder + "/in.gguf"))
            }
        }
    }

    @Test func widerTypesAndBackIsTheSame() throws {
        var random = RandomStream(seed: 43)
        for _ in 0..<20 {
            try withTemporaryFolder { folder in
                // A signalling NaN becomes a quiet one on its way, so numbers only.
                let leaves = Self.tree(&random, types: [.bf16, .i32, .u8, .f8e4m3]).map { leaf -> Leaf in
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
}
